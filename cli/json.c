#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD";

/* Length of the UTF-8 character at `p`, or 0 when the bytes there are none. jansson is the judge. */
static size_t character_length(const char *p)
{
    for (size_t n = 1; n <= 4 && memchr(p, '\0', n) == NULL; n++) {
        json_t *probe = json_stringn(p, n);
        json_decref(probe);
        if (probe != NULL) return n;
    }
    return 0;
}

static json_t *mended_text(const char *text)
{
    char *mended = malloc(3 * strlen(text) + 1);
    if (mended == NULL) return NULL;
    char *end = mended;
    while (*text != '\0') {
        size_t n = character_length(text);
        const char *from = n == 0 ? replacement : text;
        size_t size = n == 0 ? sizeof replacement - 1 : n;
        memcpy(end, from, size);
        end += size;
        text += n == 0 ? 1 : n;
    }
    json_t *string = json_stringn(mended, (size_t)(end - mended));
    free(mended);
    return string;
}

json_t *cli_json_text(const char *text)
{
    json_t *string = json_string(text);
    return string != NULL ? string : mended_text(text);
}

json_t *cli_json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

bool cli_json_extend(json_t *object, json_t *more)
{
    bool done = object != NULL && more != NULL && json_object_update(object, more) == 0;
    json_decref(more);
    return done;
}

json_t *cli_json_finished(json_t *json, bool complete)
{
    if (complete) return json;
    json_decref(json);
    return NULL;
}

enum lq_status cli_json_put(json_t *object, struct lq_error *err)
{
    bool printed = object != NULL && json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
    json_decref(object);
    if (!printed && !ferror(stdout)) return lq_error_set(err, LQ_ERR_MEMORY, "out of memory");
    putchar('\n');
    return LQ_OK;
}
