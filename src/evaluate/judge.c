#include "evaluate/judge.h"

#include <stdlib.h>
#include <string.h>

static const char spaces[] = " \t\n\v\f\r";

/* Without the white space at both ends. */
static const char *trimmed(const char *text, size_t *n)
{
    text += strspn(text, spaces);
    *n = strlen(text);
    while (*n > 0 && strchr(spaces, text[*n - 1]) != NULL) --*n;
    return text;
}

bool lq_judge_exact(const char *answer, const struct lq_turn *turn)
{
    size_t n, m;
    answer = trimmed(answer, &n);
    for (size_t i = 0; i < turn->n_answers; i++) {
        const char *right = trimmed(turn->answers[i], &m);
        if (n == m && memcmp(answer, right, n) == 0) return true;
    }
    return false;
}

/* ---- the official normalisation ---- */

/* Words that stand for others. */
static const char *const replaced[][2] = {
    {"none", "0"},  {"zero", "0"},  {"one", "1"},  {"two", "2"},
    {"three", "3"}, {"four", "4"},  {"five", "5"}, {"six", "6"},
    {"seven", "7"}, {"eight", "8"}, {"nine", "9"}, {"ten", "10"},
    {"a", ""},      {"an", ""},     {"the", ""},   {"somebody'd", "somebodyd"},
};

/* A word that lacks exactly one of these apostrophes gets it back. */
static const char *const contractions[] = {
    "'ow's'at",     "'twas",      "ain't",        "aren't",     "can't",        "could've",      "couldn't",
    "couldn't've",  "didn't",     "doesn't",      "don't",      "hadn't",       "hadn't've",     "hasn't",
    "haven't",      "he'd",       "he'd've",      "he's",       "how'd",        "how'll",        "how's",
    "isn't",        "it'd",       "it'd've",      "it'll",      "ma'am",        "might've",      "mightn't",
    "mightn't've",  "must've",    "mustn't",      "needn't",    "not've",       "o'clock",       "oughtn't",
    "shan't",       "she'd've",   "should've",    "shouldn't",  "shouldn't've", "somebody'd've", "somebody'll",
    "somebody's",   "someone'd",  "someone'd've", "someone'll", "someone's",    "something'd",   "something'd've",
    "something'll", "that's",     "there'd",      "there'd've", "there're",     "there's",       "they'd",
    "they'd've",    "they'll",    "they're",      "they've",    "wasn't",       "we'd've",       "we've",
    "weren't",      "what'll",    "what're",      "what's",     "what've",      "when's",        "where'd",
    "where's",      "where've",   "who'd",        "who'd've",   "who'll",       "who's",         "who've",
    "why'll",       "why're",     "why's",        "won't",      "would've",     "wouldn't",      "wouldn't've",
    "y'all",        "y'all'd've", "y'all'll",     "you'd",      "you'd've",     "you'll",        "you're",
    "you've",
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool has_grouped_digits(const char *text)
{
    for (const char *comma = strchr(text, ','); comma != NULL; comma = strchr(comma + 1, ','))
        if (comma > text && is_digit(comma[-1]) && is_digit(comma[1])) return true;
    return false;
}

/* Does `mark` stand beside a space anywhere? */
static bool beside_space(const char *text, char mark)
{
    for (const char *at = strchr(text, mark); at != NULL; at = strchr(at + 1, mark))
        if (at[1] == ' ' || (at > text && at[-1] == ' ')) return true;
    return false;
}

/* A mark goes from everywhere when it stands beside a space somewhere or digits are grouped by commas, else it becomes
 * a space. Apostrophes and colons stay. */
static void drop_marks(char *text)
{
    static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
    bool grouped = has_grouped_digits(text), dropped[sizeof marks];
    char *end = text;
    for (size_t i = 0; marks[i] != '\0'; i++) dropped[i] = grouped || beside_space(text, marks[i]);
    for (; *text != '\0'; text++) {
        const char *mark = strchr(marks, *text);
        if (mark == NULL) *end++ = *text;
        else if (!dropped[mark - marks]) *end++ = ' ';
    }
    *end = '\0';
}

/* All but those before a digit. */
static void drop_periods(char *text)
{
    char *end = text;
    for (; *text != '\0'; text++)
        if (*text != '.' || is_digit(text[1])) *end++ = *text;
    *end = '\0';
}

/* Is `word` the contraction without one of its apostrophes? */
static bool lacks_apostrophe(const char *word, const char *contraction)
{
    size_t i = 0;
    if (strlen(word) + 1 != strlen(contraction)) return false;
    while (word[i] != '\0' && word[i] == contraction[i]) i++;
    return contraction[i] == '\'' && strcmp(word + i, contraction + i + 1) == 0;
}

static const char *normal_word(const char *word)
{
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
        if (strcmp(word, replaced[i][0]) == 0) return replaced[i][1];
    for (size_t i = 0; i < sizeof contractions / sizeof *contractions; i++)
        if (lacks_apostrophe(word, contractions[i])) return contractions[i];
    return word;
}

/* Each word by its normal form, one space between them; `out` has room for one more byte a word than `text`. */
static void join_words(char *out, char *text)
{
    char *left = NULL, *end = out;
    for (char *word = strtok_r(text, spaces, &left); word != NULL; word = strtok_r(NULL, spaces, &left)) {
        const char *normal = normal_word(word);
        size_t n = strlen(normal);
        if (n == 0) continue;
        if (end > out) *end++ = ' ';
        memcpy(end, normal, n);
        end += n;
    }
    *end = '\0';
}

enum lq_status lq_vqa_normalise(char **out, const char *answer, struct lq_error *err)
{
    size_t n;
    const char *start = trimmed(answer, &n);
    char *text = strndup(start, n), *normal = malloc(2 * n + 1);
    if (text == NULL || normal == NULL) {
        free(text);
        free(normal);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for an answer of %zu bytes", n);
    }
    for (char *c = text; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\t') *c = ' ';
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    }
    drop_marks(text);
    drop_periods(text);
    join_words(normal, text);
    free(text);
    *out = normal;
    return LQ_OK;
}

/* ---- the soft measure ---- */

static double at_most_one(double x)
{
    return x < 1 ? x : 1;
}

/* `same` of n people gave the answer; each person in turn is left out. */
static double soft_share(size_t same, size_t n)
{
    if (n < 4) return at_most_one((double)same / (double)n);
    double without_same = same > 0 ? at_most_one((double)(same - 1) / 3) : 0;
    double without_other = at_most_one((double)same / 3);
    return ((double)same * without_same + (double)(n - same) * without_other) / (double)n;
}

enum lq_status lq_judge_vqa(double *out, const char *answer, const struct lq_turn *turn, struct lq_error *err)
{
    char *given = NULL;
    size_t same = 0;
    enum lq_status status = lq_vqa_normalise(&given, answer, err);
    for (size_t i = 0; i < turn->n_answers && status == LQ_OK; i++) {
        char *right = NULL;
        status = lq_vqa_normalise(&right, turn->answers[i], err);
        same += status == LQ_OK && strcmp(given, right) == 0;
        free(right);
    }
    free(given);
    if (status == LQ_OK) *out = soft_share(same, turn->n_answers);
    return status;
}
