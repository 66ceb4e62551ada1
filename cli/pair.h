/* The two files of a GGUF pair that is to be run. */
#ifndef LQ_CLI_PAIR_H
#define LQ_CLI_PAIR_H

#include "llava_quantize/base.h"

/* Owned. */
struct cli_pair {
    char *language, *mmproj;
};

/* Finds the files of the folder or file `name`; `mmproj`, the value of the option called `option`, may be NULL. Errors:
 * LQ_ERR_USAGE, with the remedy, for a Hugging Face folder or a half alone; those of lq_model_open. Release the pair on
 * failure too. */
enum lq_status cli_pair_find(struct cli_pair *pair, const char *name, const char *mmproj, const char *option,
                             struct lq_error *err);
void cli_pair_release(struct cli_pair *pair);

#endif
