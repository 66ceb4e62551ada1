/* "Did you mean": the nearest of a few words. */
#ifndef LQ_CLI_SUGGEST_H
#define LQ_CLI_SUGGEST_H

#include <stddef.h>

struct cli_suggestion {
    const char *word; /* the one typed */
    const char *best; /* the nearest so far, or NULL */
    size_t distance;
};

/* Begins a search for `word`. */
struct cli_suggestion cli_suggest(const char *word);
/* Offers one candidate (borrowed); `best` changes when it is nearer than all before and near enough to be a slip. */
void cli_suggest_offer(struct cli_suggestion *s, const char *candidate);

#endif
