/* Whole texts as tokens, and whether two models have the same ones. */
#include "runtime/dialogue.h"
#include "runtime/state.h"

#include <stdlib.h>
#include <string.h>

#define MOST_TEXT ((size_t)256 << 20)

enum lq_status lq_runtime_tokenise(int32_t **out, size_t *n, const struct lq_runtime *rt, const char *text,
                                   size_t length, struct lq_error *err)
{
    if (length > 0 && text[length - 1] == '\n') length--;
    if (length > MOST_TEXT)
        return lq_error_set(err, LQ_ERR_USAGE, "a text of %zu bytes is too long; at most %zu are taken", length,
                            MOST_TEXT);
    int32_t room = -llama_tokenize(rt->vocab, text, (int32_t)length, NULL, 0, true, false);
    if (room < 0) room = 0;
    int32_t *tokens = calloc((size_t)room + 1, sizeof *tokens);
    if (tokens == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %d tokens", room);
    *n = (size_t)llama_tokenize(rt->vocab, text, (int32_t)length, tokens, room, true, false);
    *out = tokens;
    return LQ_OK;
}

enum lq_status lq_runtime_same_vocabulary(const struct lq_runtime *a, const struct lq_runtime *b, struct lq_error *err)
{
    int32_t n = llama_vocab_n_tokens(a->vocab), m = llama_vocab_n_tokens(b->vocab);
    if (n != m)
        return lq_error_set(err, LQ_ERR_USAGE,
                            "%s: %d tokens, but %d in %s: only models with the same vocabulary can be compared",
                            a->language, n, m, b->language);
    for (int32_t i = 0; i < n; i++) {
        const char *mine = llama_vocab_get_text(a->vocab, i), *theirs = llama_vocab_get_text(b->vocab, i);
        if (strcmp(mine, theirs) != 0)
            return lq_error_set(err, LQ_ERR_USAGE,
                                "%s: token %d is '%.60s', but '%.60s' in %s: only models with the same vocabulary can "
                                "be compared",
                                a->language, i, mine, theirs, b->language);
    }
    return LQ_OK;
}
