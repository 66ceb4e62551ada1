"""Model files that lie, one builder each: name -> bytes of a GGUF, or of the safetensors file of a Hugging Face folder.

The GGUF builders start from one small, valid language half (`header`) and break a single thing in it.
"""
import json
import struct

from models import ARRAY, STRING, UINT32, gguf_string, gguf_value

TYPE_Q4_K, U64_MAX = 12, 2**64 - 1


def key(name, value):
    return gguf_string(name) + gguf_value(value)


def info(name, ne, kind=0, offset=0):
    return gguf_string(name) + struct.pack(f"<I{len(ne)}QIQ", len(ne), *ne, kind, offset)


def gguf(keys=(), infos=None, data=256, *, magic=b"GGUF", version=3, n_tensors=None, n_keys=None):
    """A GGUF of raw entries; counts may lie. Without `infos` there is one tensor of 64 f32."""
    keys = [key("general.architecture", "llama"), *keys]
    infos = [info("token_embd.weight", (8, 8))] if infos is None else infos
    head = magic + struct.pack("<IQQ", version, len(infos) if n_tensors is None else n_tensors,
                               len(keys) if n_keys is None else n_keys)
    head += b"".join(keys) + b"".join(infos)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data


def one(*args, data=256, **more):
    """A GGUF with one tensor."""
    return gguf(infos=[info(*args, **more)], data=data)


GGUF = {
    "empty": b"",
    "text": b"This is a picture of a cat, not a model.\n",
    "magic alone": b"GGUF",
    "header cut short": gguf()[:20],
    "data cut short": gguf()[:-1],
    "version 1": gguf(version=1),
    "version 4": gguf(version=4),
    "big-endian": gguf(version=3 << 24),
    "tensor count overflows": gguf(n_tensors=U64_MAX),
    "tensor count beyond the file": gguf(n_tensors=2),
    "key count overflows": gguf(n_keys=U64_MAX),
    "key count beyond the file": gguf(n_keys=1000),
    "key length": gguf([struct.pack("<Q", 2**63) + b"x"]),
    "string length": gguf([gguf_string("a.key") + struct.pack("<IQ", STRING, U64_MAX - 7)]),
    "array length": gguf([gguf_string("a.key") + struct.pack("<IIQ", ARRAY, UINT32, 2**62)]),
    "nested array": gguf([gguf_string("a.key") + struct.pack("<IIQ", ARRAY, ARRAY, 1) +
                          struct.pack("<IQI", UINT32, 1, 7)]),
    "unknown value type": gguf([gguf_string("a.key") + struct.pack("<II", 13, 0)]),
    "unknown element type": gguf([gguf_string("a.key") + struct.pack("<IIQ", ARRAY, 99, 1) + b"\0" * 8]),
    "key twice": gguf([key("a.key", 1), key("a.key", 2)]),
    "empty key": gguf([key("", 1)]),
    "alignment 0": gguf([key("general.alignment", 0)]),
    "alignment 3": gguf([key("general.alignment", 3)]),
    "alignment as text": gguf([key("general.alignment", "32")]),
    "tensor twice": gguf(infos=[info("a.weight", (8, 4)), info("a.weight", (8, 4), offset=128)]),
    "empty tensor name": one("", (8, 8)),
    "tensor name of 64 bytes": one("n" * 64, (8, 8)),
    "five dimensions": one("a.weight", (2, 2, 2, 2, 4)),
    "dimension 0": one("a.weight", (8, 0), data=0),
    "dimensions overflow": one("a.weight", (2**40, 2**40)),
    "size overflows": one("a.weight", (2**62, 1)),
    "unknown type": one("a.weight", (8, 8), kind=99),
    "retired type": one("a.weight", (8, 8), kind=4),
    "columns that fit no block": one("a.weight", (100, 4), kind=TYPE_Q4_K),
    "offset outside": one("a.weight", (8, 8), offset=4096),
    "offset overflows": one("a.weight", (8, 8), offset=2**64 - 32),
    "offset off the alignment": one("a.weight", (8, 8), offset=4),
    "tensors overlap": gguf(infos=[info("a.weight", (8, 8)), info("b.weight", (8, 8))]),
    "hole between tensors": gguf(infos=[info("a.weight", (8, 8)), info("b.weight", (8, 8), offset=512)], data=1024),
}


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin, end, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


SAFETENSORS = {
    "empty": b"",
    "cut short": safetensors({"a": entry(0, 16)}, b"\0" * 15),
    "data left over": safetensors({"a": entry(0, 16)}, b"\0" * 17),
    "header longer than the file": safetensors({}, length=1000),
    "header over 100 MB": safetensors({}, length=100_000_001),
    "header length overflows": safetensors({}, length=U64_MAX),
    "bad JSON": safetensors(b'{"a": '),
    "array instead of an object": safetensors([1, 2]),
    "name twice": safetensors(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},'
                              b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', b"\0" * 16),
    "overlap": safetensors({"a": entry(0, 16), "b": entry(8, 24)}, b"\0" * 24),
    "hole": safetensors({"a": entry(0, 16), "b": entry(20, 36)}, b"\0" * 36),
    "outside": safetensors({"a": entry(0, 4096, (1024,))}, b"\0" * 16),
    "backwards": safetensors({"a": entry(16, 0)}, b"\0" * 16),
    "negative": safetensors({"a": entry(-16, 0)}, b"\0" * 16),
    "shape against size": safetensors({"a": entry(0, 16, (5,))}, b"\0" * 16),
    "shape overflows": safetensors({"a": entry(0, 16, (2**62, 2**62))}, b"\0" * 16),
    "unknown dtype": safetensors({"a": entry(0, 16, (4,), "F13")}, b"\0" * 16),
    "no offsets": safetensors({"a": {"dtype": "F32", "shape": [4]}}, b"\0" * 16),
}
