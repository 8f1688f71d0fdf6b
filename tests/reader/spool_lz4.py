"""LZ4's block format, decompression only: sequences of literals and of copies from what is already out."""


def decompress(packed, size):
    """The `size` bytes that `packed` stands for; ValueError if it stands for anything else."""
    out, at = bytearray(), 0
    while True:
        token = _byte(packed, at)
        literals, at = _length(packed, at + 1, token >> 4)
        if at + literals > len(packed) or len(out) + literals > size:
            raise ValueError("literals beyond the end")
        out += packed[at : at + literals]
        at += literals
        if at == len(packed):
            break
        back = _byte(packed, at) | _byte(packed, at + 1) << 8
        copied, at = _length(packed, at + 2, token & 15)
        _copy(out, back, copied + 4, size)
    if len(out) != size:
        raise ValueError(f"{len(out)} bytes unpacked, not {size}")
    return bytes(out)


def _byte(packed, at):
    if at >= len(packed):
        raise ValueError("the sequence is cut off")
    return packed[at]


def _length(packed, at, length):
    """Four bits of a token, continued in bytes while they are at their maximum."""
    if length == 15:
        while True:
            more = _byte(packed, at)
            at += 1
            length += more
            if more != 255:
                break
    return length, at


def _copy(out, back, length, size):
    if not 0 < back <= len(out) or len(out) + length > size:
        raise ValueError("a copy from before the start or beyond the end")
    start = len(out) - back
    if back >= length:
        out += out[start : start + length]
    else:
        period = bytes(out[start:])
        out += (period * (length // back + 1))[:length]
