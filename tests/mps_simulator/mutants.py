"""Proof that the tests over the simulated MPS bite: each mutant of the engine must fail one of them.

    make test-mps-mutants

A mutant is one edit of one source file, compiled and linked from the objects of the build, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = [f"tests/native/test_{name}.py" for name in ("mps_backend", "refusal", "known_wrong", "models", "composed")]


@dataclass(frozen=True)
class Mutant:
    what: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant("no wait before the CPU", "csrc/native/mps/MpsBackend.cpp", "    synchronize();\n  }\n}", "  }\n}"),
    Mutant(
        "work of the CPU's turn is taken for done when it is not",
        "csrc/native/mps/MpsBackend.cpp",
        "  const uint64_t before = submitted_.load(std::memory_order_acquire);",
        "  const uint64_t before = submitted_.load(std::memory_order_acquire) + 1;",
    ),
    Mutant(
        "every operator on the CPU waits",
        "csrc/native/mps/MpsBackend.cpp",
        "if (submitted_.load(std::memory_order_acquire) != done_.load(std::memory_order_acquire)) {",
        "{",
    ),
    Mutant(
        "the data pointer as an address",
        "csrc/native/mps/MpsBackend.cpp",
        "  const void* shared = buffers_.getSharedBufferPtr(memory).first;\n  return shared",
        "  const void* shared = memory;\n  return shared",
    ),
    Mutant(
        "results of the CPU are copied",
        "csrc/native/mps/MpsMemory.cpp",
        "    if (lent != lent_.end()) {\n      if (memory",
        "    if (false) {\n      if (memory",
    ),
    Mutant(
        "float64 is taken for a type of Metal's",
        "csrc/native/mps/MpsBackend.cpp",
        "dtype_set({c10::kDouble, ",
        "dtype_set({",
    ),
    Mutant(
        "every error is taken for a refusal",
        "csrc/native/mps/Refusal.cpp",
        "  return may_refuse && std::regex_search(error.msg(), says_it_cannot());",
        "  return true;",
    ),
    Mutant(
        "errors about values are taken for refusals",
        "csrc/native/mps/Refusal.cpp",
        "  return may_refuse && std::regex_search(",
        "  return std::regex_search(",
    ),
    Mutant(
        "no refusal is known",
        "csrc/native/mps/Refusal.cpp",
        "  return may_refuse && std::regex_search(error.msg(), says_it_cannot());",
        "  return false;",
    ),
    Mutant(
        "written arguments are not put back",
        "csrc/forward/fallback/Fallback.cpp",
        "      saved->put_back();",
        "",
    ),
    Mutant(
        "a refusal is for every mode",
        "csrc/forward/fallback/OperatorRecord.cpp",
        "    if ((value ^ kind) <= 1) {",
        "    if (kind != 0) {",
    ),
    Mutant(
        "a refusal is forgotten",
        "csrc/forward/fallback/Fallback.cpp",
        "      record.remember(call.hash(), OperatorRecord::Answer::kRefused);",
        "",
    ),
    Mutant(
        "refused sizes are remembered",
        "csrc/forward/fallback/Fallback.cpp",
        "    if (native_backend().refuses_by_size(error)) {",
        "    if (false) {",
    ),
    Mutant(
        "what may be refused for its size is not saved again",
        "csrc/forward/fallback/Fallback.cpp",
        "is_first || (may_write && (record.refuses_by_size() || writes_much(call)));",
        "is_first;",
    ),
    Mutant(
        "the CPU is not asked after a failure",
        "csrc/forward/fallback/Fallback.cpp",
        "      if (!can_repeat || !is_plain(error) || fallback_is_forbidden()) {",
        "      if (true) {",
    ),
    Mutant(
        "the CPU is asked after errors about values",
        "csrc/forward/fallback/Fallback.cpp",
        "      if (!can_repeat || !is_plain(error) || fallback_is_forbidden()) {",
        "      if (!can_repeat || fallback_is_forbidden()) {",
    ),
    Mutant(
        "the CPU is asked where that is an error",
        "csrc/forward/fallback/Fallback.cpp",
        "      if (!can_repeat || !is_plain(error) || fallback_is_forbidden()) {",
        "      if (!can_repeat || !is_plain(error)) {",
    ),
    Mutant(
        "attention on the CPU",
        "csrc/aten/Attention.cpp",
        "  return !forward::has_fallback() && dropout == 0 &&",
        "  return dropout == 0 &&",
    ),
    Mutant(
        "a block of queries takes itself for the first",
        "csrc/aten/AttentionMath.cpp",
        "    part.last = *rule.last + start;",
        "    part.last = *rule.last;",
    ),
    Mutant(
        "nothing is composed",
        "csrc/forward/fallback/Composed.cpp",
        "  if (!has_fallback() || is_forced_to_host(",
        "  if (true || is_forced_to_host(",
    ),
    Mutant(
        "copies to and from the host are MPS's",
        "csrc/aten/Copy.cpp",
        "  if (!crosses_to_host(self, src)) {",
        "  if (true) {",
    ),
    Mutant(
        "long products are not split",
        "csrc/native/mps/LongProducts.cpp",
        "constexpr int64_t kShortestWrong = 32767;",
        "constexpr int64_t kShortestWrong = 1 << 30;",
    ),
    Mutant(
        "arguments lie as they like",
        "csrc/native/mps/Forms.cpp",
        "      stack[i] = laid_out(tensor, format_of(tensor));",
        "",
    ),
    Mutant(
        "arguments keep their offset",
        "csrc/native/mps/Forms.cpp",
        "  return plain.storage_offset() == 0 ? plain : plain.clone(format);",
        "  return plain;",
    ),
    Mutant(
        "results have another memory format",
        "csrc/native/mps/Forms.cpp",
        "    result = result.toTensor().contiguous(format);",
        "",
    ),
    Mutant(
        "out= is MPS's",
        "csrc/native/mps/KnownWrong.cpp",
        'common_mps.py", &copy_into_out},',
        'common_mps.py", [](DoubtfulCall& call) { call.go_on(); }},',
    ),
    Mutant(
        "transposed convolutions of halves are MPS's",
        "csrc/native/mps/Forms.cpp",
        "!at::isReducedFloatingType(first.scalar_type()) || !is_transposed) {",
        "true) {",
    ),
    Mutant(
        "what MPS gets wrong is MPS's",
        "csrc/native/mps/KnownWrong.cpp",
        "  any_tensor(call, is_one) ? call.go_to_host() : call.go_on();",
        "  call.go_on();",
    ),
    Mutant(
        "weights are counted in float32",
        "csrc/native/mps/KnownWrong.cpp",
        "  weights.defined() && weights.scalar_type() != at::kFloat ? call.go_to_host() : call.go_on();",
        "  call.go_on();",
    ),
    Mutant(
        "integers pass through float32",
        "csrc/native/mps/KnownWrong.cpp",
        "  if (!self.defined() || !is_integral(self)) {",
        "  if (true) {",
    ),
    Mutant(
        "uneven pools are MPS's",
        "csrc/native/mps/KnownWrong.cpp",
        "  divides ? call.go_on() : call.go_to_host();",
        "  call.go_on();",
    ),
    Mutant(
        "broadcast batches are MPS's",
        "csrc/native/mps/KnownWrong.cpp",
        "  same ? call.go_on() : call.go_to_host();",
        "  call.go_on();",
    ),
    Mutant(
        "numbers of the MPS generator for the CPU's kernels",
        "csrc/forward/Argument.cpp",
        "alias_pool().native().translates_addresses ? host_backend() : native_backend()",
        "native_backend()",
    ),
    Mutant(
        "copies are not looked at",
        "csrc/aten/Copy.cpp",
        "forward::Checked<Op, StridedCopyCheck, Kernel>",
        "Kernel",
    ),
    Mutant(
        "no limit of memory",
        "csrc/native/mps/MpsMemory.cpp",
        "  buffers_.setHighWatermarkRatio(",
        "  static_cast<void>(",
    ),
    Mutant(
        "events are passed when they are recorded",
        "csrc/runtime/Event.cpp",
        "  if (native_ && !native_->query()) {",
        "  if (false) {",
    ),
]


#: Changes nothing, and so must survive: else the others may fail for reasons of their own.
CONTROL = Mutant("nothing", "csrc/native/mps/Refusal.cpp", "  return may_refuse", "  return may_refuse")


class Builder:
    def __init__(self, build: Path) -> None:
        self.build = build
        commands = json.loads((build / "compile_commands.json").read_text())
        self.entries = [entry for entry in commands if Path(entry["file"]).parent.name == "Unity"]
        self.library = str(next(build.glob("engines/*/_C.*.so")).relative_to(build))
        listed = subprocess.run(
            ["ninja", "-C", str(build), "-t", "commands", self.library], capture_output=True, text=True, check=True
        )
        self.link = next(line for line in reversed(listed.stdout.splitlines()) if f"-o {self.library}" in line)

    def make(self, mutant: Mutant, folder: Path) -> None:
        """A package `torchdevice` in `folder`, with the mutant's extension."""
        source = (ROOT / mutant.file).resolve()
        text = source.read_text()
        assert text.count(mutant.old) == 1, f"{mutant.file} has changed: {mutant.old!r}"
        mutated = folder / source.name
        mutated.write_text(text.replace(mutant.old, mutant.new))
        # The sources that are compiled with it, and the mutant in its place.
        entry, sources = next(
            (entry, text) for entry in self.entries if str(source) in (text := Path(entry["file"]).read_text())
        )
        together = folder / "together.cxx"
        together.write_text(sources.replace(str(source), str(mutated)))
        object_file = folder / "mutant.o"
        original = os.path.relpath(entry["output"], self.build)  # as both commands name it
        assert original in entry["command"], f"no command makes {original}"
        assert original in self.link, f"no command uses {original}"
        command = [
            {entry["file"]: str(together), original: str(object_file)}.get(word, word)
            for word in shlex.split(entry["command"])
        ]
        subprocess.run(command, cwd=self.build, check=True)
        package = folder / "torchdevice"
        shutil.copytree(ROOT / "torchdevice", package, ignore=shutil.ignore_patterns("engines", "__pycache__"))
        shutil.copytree(self.build / "engines", package / "engines")
        link = self.link.replace(f"-o {self.library}", f"-o {package / self.library}")
        subprocess.run(link.replace(original, str(object_file)), shell=True, cwd=self.build, check=True)


def survives(builder: Builder, mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as name:
        builder.make(mutant, Path(name))
        path = os.pathsep.join([name, os.environ["PYTHONPATH"]])
        tests = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=120"),
                *("-o", f"pythonpath={name} {ROOT}", *TESTS),
            ],
            cwd=ROOT,
            # Without the safe path the checkout's own package would come first.
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = [line for line in tests.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    reason = failed[0] if failed else f"exit code {tests.returncode}"
    print(f"{'SURVIVES' if tests.returncode == 0 else 'killed  '}  {mutant.what}: {reason}", flush=True)
    return tests.returncode == 0


def main() -> None:
    builder = Builder(Path(sys.argv[1]).resolve())
    chosen = [mutant for mutant in MUTANTS if len(sys.argv) < 3 or sys.argv[2] in mutant.what]
    if not survives(builder, CONTROL):
        sys.exit("the engine itself fails the tests")
    alive = [mutant for mutant in chosen if survives(builder, mutant)]
    sys.exit(f"{len(alive)} of {len(chosen)} mutants survive" if alive else None)


if __name__ == "__main__":
    main()
