"""`torchdevice suite`: another project's own tests on cuda and on the CPU, and what differs.

A profile (profile.py) says what a project's tests need. Each file of tests runs in a process of its own (process.py),
on either device, and a plug-in of pytest in it (outcomes.py) writes down test by test what happens. That journal is
what a run goes on from (journal.py, runner.py). verdicts.py compares the two sides, pages.py tells people.
"""
