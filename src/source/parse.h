/* What source.c and the two parsers share; private to this room.
 *
 * Enters: a source whose path, descriptor and size are set. Leaves: its metadata, its tensors in file order, and their
 * names (owned by the source). On failure the source holds whatever lq_source_close can release.
 */
#ifndef LQ_SOURCE_PARSE_H
#define LQ_SOURCE_PARSE_H

#include "source/source.h"

enum lq_status lq_gguf_parse(struct lq_source *source, struct lq_error *err);
enum lq_status lq_safetensors_parse(struct lq_source *source, struct lq_error *err);

#endif
