/* Putting right where llama.cpp 0.5.0 puts a CLIP tower's class token.
 *
 * CLIP is trained with the class token before the patches: positions 0, then 1 .. n, and LLaVA's projector takes the
 * patches. llama.cpp's LLaVA graph (tools/mtmd/models/llava.cpp) appends the class token behind them instead, but still
 * counts positions from 0 and still leaves out the first row: every patch gets its neighbour's position, the first
 * patch is lost and the class token is taken for the last one. A file cannot make up for that; a callback can, by
 * turning the rows of that one concatenation. A llama.cpp that has the class token first is left alone.
 *
 *     params.cb_eval = lq_class_token_first;   // for a tower with LLaVA's projector
 */
#ifndef LQ_RUNTIME_CLASS_TOKEN_H
#define LQ_RUNTIME_CLASS_TOKEN_H

#include <ggml.h>

/* A ggml_backend_sched_eval_callback; `data` is not used. */
bool lq_class_token_first(struct ggml_tensor *node, bool ask, void *data);

#endif
