#include "inspect/sums_file.h"

#include "base/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t largest_file = UINT64_C(16) << 20;
static const char data_mark[] = "#data ";

/* One line taken apart; `name` is NULL for a comment, an empty line, or a name in sha256sum's escaped form, which no
 * file of ours has. */
struct line {
    enum lq_sum_of what;
    struct lq_sha256 sum;
    const char *name; /* without folders */
    size_t length;
};

static bool take_sum(const char *text, size_t size, struct lq_sha256 *out)
{
    if (size < LQ_SHA256_LENGTH) return false;
    for (size_t i = 0; i < LQ_SHA256_LENGTH; i++) {
        if (!isxdigit((unsigned char)text[i])) return false;
        out->text[i] = (char)tolower((unsigned char)text[i]);
    }
    out->text[LQ_SHA256_LENGTH] = '\0';
    return true;
}

/* False when the line is of no known form. */
static bool parse_line(const char *text, size_t size, struct line *out)
{
    *out = (struct line){.what = LQ_SUM_FILE};
    size_t mark = sizeof data_mark - 1;
    if (size > mark && memcmp(text, data_mark, mark) == 0) {
        out->what = LQ_SUM_DATA;
        text += mark;
        size -= mark;
    } else if (size == 0 || text[0] == '#' || text[0] == '\\') {
        return true;
    }
    if (!take_sum(text, size, &out->sum)) return false;
    text += LQ_SHA256_LENGTH;
    size -= LQ_SHA256_LENGTH;
    if (size < 3 || text[0] != ' ' || (text[1] != ' ' && text[1] != '*')) return false;
    const char *slash = memrchr(text, '/', size);
    out->name = slash == NULL ? text + 2 : slash + 1;
    out->length = size - (size_t)(out->name - text);
    return true;
}

/* The line at `at`, without its end; `at` moves behind it. */
static size_t line_at(const struct lq_sums_file *sums, size_t *at, const char **text)
{
    *text = sums->text + *at;
    const char *end = memchr(*text, '\n', sums->size - *at);
    size_t length = end == NULL ? sums->size - *at : (size_t)(end - *text);
    *at += length + 1;
    return length > 0 && (*text)[length - 1] == '\r' ? length - 1 : length;
}

enum lq_status lq_sums_load(struct lq_sums_file *out, const char *path, struct lq_error *err)
{
    struct lq_sums_file sums = {0};
    const char *text;
    enum lq_status status = lq_file_load(path, largest_file, &sums.text, &sums.size, err);
    size_t number = 0;
    for (size_t at = 0; status == LQ_OK && at < sums.size;) {
        struct line line;
        size_t length = line_at(&sums, &at, &text);
        number++;
        if (!parse_line(text, length, &line))
            status =
                lq_error_set(err, LQ_ERR_FORMAT,
                             "%s: line %zu is no SHA-256 sum as sha256sum writes them: \"SUM  NAME\"", path, number);
    }
    if (status == LQ_OK) *out = sums;
    else lq_sums_release(&sums);
    return status;
}

void lq_sums_release(struct lq_sums_file *sums)
{
    free(sums->text);
    *sums = (struct lq_sums_file){0};
}

bool lq_sums_find(const struct lq_sums_file *sums, enum lq_sum_of what, const char *name, struct lq_sha256 *out)
{
    const char *text;
    size_t wanted = strlen(name);
    for (size_t at = 0; at < sums->size;) {
        struct line line;
        size_t length = line_at(sums, &at, &text);
        if (!parse_line(text, length, &line) || line.name == NULL || line.what != what) continue;
        if (line.length != wanted || memcmp(line.name, name, wanted) != 0) continue;
        *out = line.sum;
        return true;
    }
    return false;
}
