"""`torchdevice fit`: what memory a program takes on a GPU, and about how long it works there, without either.

The program runs in a process of its own (`child`), on devices of the profile's size that compute nothing: csrc/dry. It
leaves a record (`record`), of which the command makes a report (`report`).
"""
