/* SentencePiece files from anywhere: read within their bytes, or refused with a message and nothing left behind. */
#include "model/tokenizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lq_tokenizer t = {0};
    struct lq_error err = {0};
    if (lq_tokenizer_parse(&t, data, size, "tokenizer.model", &err) != LQ_OK) {
        if (t.pieces != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    for (size_t i = 0; i < t.n; i++)
        if (t.pieces[i].text[t.pieces[i].length] != '\0' || t.pieces[i].type < LQ_PIECE_NORMAL) abort();
    lq_tokenizer_release(&t);
    return 0;
}
