/* A conversation as text, the way the model's chat template writes it.
 *
 * Enters: turns. Leaves: the text that llama.cpp's C API gives for the template, or nothing where the model has none
 * that it knows. The picture's place is LQ_MARK, at the beginning of the first question.
 */
#ifndef LQ_RUNTIME_TEMPLATE_H
#define LQ_RUNTIME_TEMPLATE_H

#include "runtime/dialogue.h"
#include "runtime/state.h"

#define LQ_MARK "<image>"

/* True for a model with a template that llama.cpp's C API knows. */
bool lq_template_known(const struct lq_runtime *rt);
/* With `open` the last answer is left out and the text ends where it begins. *out: free(). */
enum lq_status lq_template_render(char **out, const struct lq_runtime *rt, const struct lq_dialogue_turn *turns,
                                  size_t n_turns, bool open, struct lq_error *err);

#endif
