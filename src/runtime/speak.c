#include "runtime/speak.h"

#include "runtime/dialogue.h"

#include <stdlib.h>
#include <string.h>

enum lq_status lq_speak(struct lq_speaker *s, const struct lq_runtime *rt, llama_token token, bool *more,
                        struct lq_error *err)
{
    int32_t strip = s->begun ? 0 : 1;
    int32_t n = llama_token_to_piece(rt->vocab, token, NULL, 0, strip, false);
    size_t room = (size_t)(n < 0 ? -n : n);
    char *raw = malloc(room + 1), *text = malloc(lq_utf8_room(room));
    enum lq_status status = LQ_OK;
    if (raw == NULL || text == NULL) {
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for the answer");
        goto done;
    }
    n = llama_token_to_piece(rt->vocab, token, raw, (int32_t)room, strip, false);
    size_t length = lq_utf8_push(&s->stream, raw, n > 0 ? (size_t)n : 0, text);
    if (length > 0) *more = s->piece(s->data, text, length);
    s->begun = true;
done:
    free(raw);
    free(text);
    return status;
}

void lq_speak_end(struct lq_speaker *s)
{
    char rest[3];
    size_t n = lq_utf8_finish(&s->stream, rest);
    if (n > 0) s->piece(s->data, rest, n);
}

struct growing {
    char *text; /* NULL once there was no memory */
    size_t n;
};

static bool append(void *data, const char *piece, size_t length)
{
    struct growing *g = data;
    char *text = realloc(g->text, g->n + length + 1);
    if (text == NULL) free(g->text);
    g->text = text;
    if (text == NULL) return false;
    memcpy(text + g->n, piece, length);
    g->n += length;
    text[g->n] = 0;
    return true;
}

enum lq_status lq_runtime_text(char **out, const struct lq_runtime *rt, const int32_t *tokens, size_t n,
                               struct lq_error *err)
{
    struct growing all = {.text = calloc(1, 1)};
    struct lq_speaker speaker = {.piece = append, .data = &all};
    enum lq_status status = LQ_OK;
    bool more = all.text != NULL;
    for (size_t i = 0; i < n && more && status == LQ_OK; i++) status = lq_speak(&speaker, rt, tokens[i], &more, err);
    if (status == LQ_OK && more) lq_speak_end(&speaker);
    if (status == LQ_OK && all.text == NULL) status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for the answer");
    if (status == LQ_OK) *out = all.text;
    else free(all.text);
    return status;
}
