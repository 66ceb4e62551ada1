#include "suggest.h"

#include <stdbool.h>
#include <string.h>

enum { LONGEST = 40, PREFIX_LETTERS = 3 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance of two words of at most LONGEST letters. */
static size_t distance_of(const char *a, const char *b)
{
    size_t row[LONGEST + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(change, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

struct cli_suggestion cli_suggest(const char *word)
{
    size_t length = strlen(word);
    return (struct cli_suggestion){.word = word, .distance = length < 4 ? 2 : length < 8 ? 3 : 4};
}

void cli_suggest_offer(struct cli_suggestion *s, const char *candidate)
{
    size_t length = strlen(s->word);
    if (length > LONGEST || strlen(candidate) > LONGEST) return;
    bool prefix = length >= PREFIX_LETTERS && strncmp(s->word, candidate, length) == 0;
    size_t distance = prefix ? 1 : distance_of(s->word, candidate);
    if (distance >= s->distance) return;
    s->distance = distance;
    s->best = candidate;
}
