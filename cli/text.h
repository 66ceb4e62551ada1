/* Small pieces of text that several outputs share: sizes, shapes, words for a shell. */
#ifndef LQ_CLI_TEXT_H
#define LQ_CLI_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "llava_quantize/model.h"

struct cli_text {
    char s[64];
};

/* "512 B", "1.0 KiB", "0.50 MiB", "13.21 GiB". */
struct cli_text cli_size(uint64_t bytes);
/* "256 x 1024", row length first; "256" for one dimension. */
struct cli_text cli_shape(uint32_t n_dims, const uint64_t ne[4]);
/* "0.527 %"; "-" when nothing was lost. */
struct cli_text cli_percent(double ratio);
/* "q4_k+q6_k": the types whose bits are set. */
struct cli_text cli_type_names(uint64_t types);
/* Prints one word so that a POSIX shell reads it back as it is, in single quotes where it needs them. */
void cli_put_shell_word(FILE *out, const char *word);

#endif
