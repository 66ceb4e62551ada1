"""Makes write.gguf with gguf-py (pip install gguf), so that our writer is held against bytes that it did not make itself.

tests/unit/test_write.c writes the same keys and tensors and compares the bytes. Tensor data are (7 i + 13) mod 256.
"""
import os

import numpy
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

writer = GGUFWriter(os.path.join(os.path.dirname(os.path.abspath(__file__)), "write.gguf"), "clip")
writer.add_uint8("t.u8", 200)
writer.add_int8("t.i8", -100)
writer.add_uint16("t.u16", 60000)
writer.add_int16("t.i16", -30000)
writer.add_uint32("t.u32", 4000000000)
writer.add_int32("t.i32", -2000000000)
writer.add_float32("t.f32", 0.1)
writer.add_bool("t.bool", True)
writer.add_string("t.string", "Größe 大")
writer.add_uint64("t.u64", 1 << 63)
writer.add_int64("t.i64", -(1 << 62))
writer.add_float64("t.f64", 0.1)
writer.add_key_value("t.array.u32", [1, 2, 3], GGUFValueType.ARRAY, GGUFValueType.UINT32)
writer.add_key_value("t.array.f32", [0.5, -0.25], GGUFValueType.ARRAY, GGUFValueType.FLOAT32)
writer.add_array("t.array.string", ["a", "", "bcd"])
writer.add_string("llava_quantize.pair_id", "0123456789abcdef0123456789abcdef")


def pattern(count):
    return ((7 * numpy.arange(count) + 13) % 256).astype(numpy.uint8)


writer.add_tensor("three.dims", pattern(2 * 3 * 5 * 4).view(numpy.float32).reshape(2, 3, 5))
writer.add_tensor("halves", pattern(33 * 2).view(numpy.float16))
writer.add_tensor("blocks", pattern(2 * 3 * 34).reshape(3, 68), raw_dtype=GGMLQuantizationType.Q8_0)
writer.add_tensor("last", pattern(4).view(numpy.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
