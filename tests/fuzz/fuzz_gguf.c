/* Any bytes as a GGUF file: an error or a source whose promises hold, never a crash. */
#include "read_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_source(data, size, "fuzz.gguf");
    return 0;
}
