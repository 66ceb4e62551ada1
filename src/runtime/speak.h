/* Tokens as text: whole UTF-8 characters, without the space that belongs to the prompt.
 *
 *     struct lq_speaker speaker = {.piece = print, .data = out};
 *     lq_speak(&speaker, rt, token, &more, &err);     // for each token of the answer
 *     lq_speak_end(&speaker);
 */
#ifndef LQ_RUNTIME_SPEAK_H
#define LQ_RUNTIME_SPEAK_H

#include "runtime/state.h"
#include "runtime/utf8.h"

struct lq_speaker {
    lq_piece_fn *piece;
    void *data;
    struct lq_utf8 stream;
    bool begun; /* the answer's first token is behind us: its leading space belongs to the prompt */
};

/* *more turns false when the receiver wants no more. */
enum lq_status lq_speak(struct lq_speaker *speaker, const struct lq_runtime *rt, llama_token token, bool *more,
                        struct lq_error *err);
/* Hands on what was held back of an unfinished character. */
void lq_speak_end(struct lq_speaker *speaker);

#endif
