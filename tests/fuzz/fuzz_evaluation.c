/* Any bytes as the result of an evaluation: refused with a message, or understood so well that what is written of it
 * reads back as the same. */
#include "evaluate/result.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *written(const struct lq_evaluation *e, size_t *size)
{
    char *text = NULL;
    if (lq_evaluation_to_json(&text, size, e, NULL) != LQ_OK) abort();
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_evaluation *e = NULL, *back = NULL;
    struct lq_error err = {0};
    size_t n = 0, m = 0;
    if (lq_evaluation_parse(&e, (const char *)data, size, "result.json", &err) != LQ_OK) {
        if (e != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    char *text = written(e, &n);
    if (lq_evaluation_parse(&back, text, n, "result.json", &err) != LQ_OK) abort();
    char *again = written(back, &m);
    if (n != m || memcmp(text, again, n) != 0) abort();
    lq_evaluation_free(back);
    lq_evaluation_free(e);
    free(again);
    free(text);
    return 0;
}
