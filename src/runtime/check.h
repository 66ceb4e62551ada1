/* What both files must satisfy before llama.cpp sees them.
 *
 * Enters: the paths of a language file and an mmproj. Leaves: a verdict.
 * Invariants: what llama.cpp 0.5.0 answers with an abort, a division by zero or a read outside its arrays, for the
 * models that this program writes (Llama decoders, CLIP towers with LLaVA's projector), is refused here with a message;
 * what it answers with an error of its own is left to it.
 */
#ifndef LQ_RUNTIME_CHECK_H
#define LQ_RUNTIME_CHECK_H

#include "source/source.h"

/* *llava: the vision half is a CLIP tower that llama.cpp runs by its LLaVA graph. */
enum lq_status lq_runtime_check(const char *language, const char *mmproj, bool *llava, struct lq_error *err);

/* The steps of it, on opened files. `width` is the language model's. */
enum lq_status lq_check_language(const struct lq_source *source, uint64_t *width, struct lq_error *err);
enum lq_status lq_check_vision(const struct lq_source *source, uint64_t width, bool *llava, struct lq_error *err);

/* Reads an integer key: LQ_ERR_FORMAT when it is absent, of another type or outside [low, high]. */
enum lq_status lq_check_number(const struct lq_source *source, const char *key, uint64_t low, uint64_t high,
                               uint64_t *out, struct lq_error *err);
/* What is added to a variance, where the key is there: finite and not negative. */
enum lq_status lq_check_epsilon(const struct lq_source *source, const char *key, struct lq_error *err);
/* True when the key holds exactly this string. */
bool lq_check_is(const struct lq_source *source, const char *key, const char *value);

#endif
