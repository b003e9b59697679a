"""Reads Mach-O files for 64-bit ARM: load commands, symbols, the exports trie and the ad-hoc signature."""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAGIC_64 = 0xFEEDFACF
CPU_ARM64 = 0x0100000C
BUNDLE = 8
PLATFORM_MACOS = 1

_SYMTAB, _LOAD_DYLIB, _ID_DYLIB, _CODE_SIGNATURE, _BUILD_VERSION = 0x2, 0xC, 0xD, 0x1D, 0x32
_LOAD_WEAK_DYLIB, _RPATH, _REEXPORT_DYLIB = 0x80000018, 0x8000001C, 0x8000001F
_DYLD_INFO, _DYLD_INFO_ONLY, _EXPORTS_TRIE = 0x22, 0x80000022, 0x80000033

#: Where an undefined symbol is looked for, if not in one of the libraries by number.
_SPECIAL_ORDINALS = {0: "self", 0xFD: "weak lookup", 0xFE: "dynamic lookup", 0xFF: "executable"}
DYNAMIC_LOOKUP = _SPECIAL_ORDINALS[0xFE]

_SUPER_BLOB, _CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
_AD_HOC = 2


class MalformedError(ValueError):
    """Not a Mach-O file for Apple silicon, or a damaged one."""


@dataclass(frozen=True)
class Undefined:
    """A symbol that comes from elsewhere."""

    library: str  #: install name, or where dyld looks for it
    weak_definition: bool  #: any library may define it anew, as with operator new


class MachO:
    """One file, mapped; what is asked for is read."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, cpu, _, self.file_type, commands, _, _, _ = struct.unpack_from("<8I", self._bytes, 0)
        if (magic, cpu) != (MAGIC_64, CPU_ARM64):
            raise MalformedError(f"{path} is no Mach-O file for arm64: magic {magic:#x}, CPU {cpu:#x}")
        self.libraries: list[str] = []
        self.rpaths: list[str] = []
        self.platform, self.least_release, self.sdk = 0, (0, 0), (0, 0)
        self._symtab = (0, 0, 0)
        self._trie = (0, 0)
        self._signature = (0, 0)
        offset = 32
        for _ in range(commands):
            command, size = struct.unpack_from("<2I", self._bytes, offset)
            self._read_command(command, offset, offset + size)
            offset += size

    def _read_command(self, command: int, start: int, end: int) -> None:
        def numbers(count: int) -> tuple[int, ...]:
            return struct.unpack_from(f"<{count}I", self._bytes, start + 8)

        def name() -> str:
            return self._bytes[start + numbers(1)[0] : end].split(b"\0")[0].decode()

        if command in (_LOAD_DYLIB, _LOAD_WEAK_DYLIB, _REEXPORT_DYLIB):
            self.libraries.append(name())
        elif command == _RPATH:
            self.rpaths.append(name())
        elif command == _BUILD_VERSION:
            self.platform, least, sdk = numbers(3)
            self.least_release, self.sdk = (least >> 16, least >> 8 & 255), (sdk >> 16, sdk >> 8 & 255)
        elif command == _SYMTAB:
            symbols, count, strings = numbers(3)
            self._symtab = (symbols, count, strings)
        elif command in (_DYLD_INFO, _DYLD_INFO_ONLY):
            *_, where, size = numbers(10)
            self._trie = (where, size)
        elif command in (_EXPORTS_TRIE, _CODE_SIGNATURE):
            where, size = numbers(2)
            if command == _EXPORTS_TRIE:
                self._trie = (where, size)
            else:
                self._signature = (where, size)

    def _text_at(self, offset: int) -> str:
        return self._bytes[offset : self._bytes.find(b"\0", offset)].decode()

    @cached_property
    def undefined(self) -> dict[str, Undefined]:
        """What this file needs, and from whom."""
        symbols, count, strings = self._symtab
        found = {}
        for string, kind, _, description, _ in struct.iter_unpack(
            "<IBBHQ", self._bytes[symbols : symbols + 16 * count]
        ):
            is_debug, is_defined, is_external = kind & 0xE0, kind & 0x0E, kind & 1
            if is_external and not is_debug and not is_defined:
                ordinal = description >> 8 & 255
                library = _SPECIAL_ORDINALS.get(ordinal) or self.libraries[ordinal - 1]
                found[self._text_at(strings + string)] = Undefined(library, bool(description & 0x80))
        return found

    @cached_property
    def exports(self) -> set[str]:
        """What others may link to: the names in the trie that dyld reads."""
        where, size = self._trie
        trie = self._bytes[where : where + size]
        found: set[str] = set()
        nodes = [(0, b"")] if size else []
        while nodes:
            position, prefix = nodes.pop()
            terminal, position = _uleb128(trie, position)
            if terminal:
                found.add(prefix.decode())
            position += terminal
            children = trie[position]
            position += 1
            for _ in range(children):
                end = trie.index(b"\0", position)
                child, after = _uleb128(trie, end + 1)
                nodes.append((child, prefix + trie[position:end]))
                position = after
        return found

    def signature_faults(self) -> list[str]:
        """What is wrong with the ad-hoc signature: macOS on Apple silicon kills a process that runs a page of code
        whose hash is not the signed one."""
        where, size = self._signature
        if size == 0:
            return ["not signed"]
        magic, _, blobs = struct.unpack_from(">3I", self._bytes, where)
        if magic != _SUPER_BLOB:
            return [f"signature of an unknown kind: {magic:#x}"]
        faults = []
        directories = 0
        for index in range(blobs):
            _, offset = struct.unpack_from(">2I", self._bytes, where + 12 + 8 * index)
            if struct.unpack_from(">I", self._bytes, where + offset)[0] == _CODE_DIRECTORY:
                directories += 1
                faults += self._code_directory_faults(where + offset)
        return faults if directories else ["signature without a code directory"]

    def _code_directory_faults(self, start: int) -> list[str]:
        # length, version; flags, offset of the hashes, of the name, special and code slots, code limit; four bytes.
        flags, hashes, _, _, pages, limit = struct.unpack_from(">6I", self._bytes, start + 12)
        hash_size, _, _, page_bits = struct.unpack_from(">4B", self._bytes, start + 36)
        faults = [] if flags & _AD_HOC else [f"signature is not ad hoc: flags {flags:#x}"]
        if limit != self._signature[0]:
            faults.append(f"signature covers {limit} bytes, and the code has {self._signature[0]}")
        for page in range(pages):
            begin = page << page_bits
            actual = hashlib.sha256(self._bytes[begin : min(begin + (1 << page_bits), limit)]).digest()[:hash_size]
            signed = start + hashes + page * hash_size
            if actual != self._bytes[signed : signed + hash_size]:
                faults.append(f"page {page} is not as signed")
        return faults


def _uleb128(data: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
