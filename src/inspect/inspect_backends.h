/* Types that a backend of llama.cpp 0.5.0 does not multiply by as it should, each read off that version's source. */
#ifndef LQ_INSPECT_INSPECT_BACKENDS_H
#define LQ_INSPECT_INSPECT_BACKENDS_H

#include "llava_quantize/inspect.h"

struct lq_backend_quirk {
    enum lq_backend backend;
    enum lq_type type;
    const char *what; /* follows "N matrices of type TYPE, such as 'NAME': " */
    const char *remedy;
    const char *source; /* file and function below llama.cpp's ggml/src */
};

/* NULL behind the last. */
const struct lq_backend_quirk *lq_backend_quirk_at(size_t i);

#endif
