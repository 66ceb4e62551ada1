#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate/result.h"
#include "evaluate/result_fields.h"
#include "llava_quantize/evaluate.h"
#include "runtime/utf8.h"

const char *const lq_result_halves[LQ_HALVES] = {"vision", "language"};

/* What stands while the text is written. Lists put each element on a line of its own. */
struct writer {
    FILE *out;
    int depth;
    bool in_line, failed;
};

static void break_line(struct writer *w, bool first)
{
    if (w->in_line && first) return;
    if (w->in_line) fputc(' ', w->out);
    else fprintf(w->out, "\n%*s", 2 * w->depth, "");
}

/* Anything that jansson can print by itself. */
static void write_value(struct writer *w, json_t *value, size_t flags)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | flags);
    json_decref(value);
    w->failed |= text == NULL;
    if (text != NULL) fputs(text, w->out);
    free(text);
}

/* The fewest digits that give the same number again, 15 at least. */
static size_t digits_of(double x)
{
    for (size_t digits = 15; digits < 17; digits++) {
        json_t *number = json_real(x);
        char *text = json_dumps(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *back = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
        bool same = json_number_value(back) == x;
        json_decref(number);
        json_decref(back);
        free(text);
        if (same) return digits;
    }
    return 17;
}

static void write_number(struct writer *w, const struct lq_field *f, const void *base)
{
    double x = *(const double *)((const char *)base + f->offset);
    if (isfinite(x)) write_value(w, json_real(x), JSON_REAL_PRECISION(digits_of(x)));
    else fputs("null", w->out);
}

static void write_count(struct writer *w, const struct lq_field *f, const void *base)
{
    uint64_t n = *(const uint64_t *)((const char *)base + f->offset);
    if (n <= INT64_MAX) fprintf(w->out, "%" PRIu64, n);
    else fputs("null", w->out); /* a large seed: JSON's readers would not take it */
}

static void write_threads(struct writer *w, const struct lq_field *f, const void *base)
{
    fprintf(w->out, "%u", *(const unsigned *)((const char *)base + f->offset));
}

static void write_block(struct writer *w, const struct lq_field *f, const void *base)
{
    fprintf(w->out, "%d", *(const int *)((const char *)base + f->offset));
}

static void write_flag(struct writer *w, const struct lq_field *f, const void *base)
{
    fputs(*(const bool *)((const char *)base + f->offset) ? "true" : "false", w->out);
}

/* Bytes that are no UTF-8 become U+FFFD. */
static void write_string(struct writer *w, const char *text)
{
    struct lq_utf8 stream = {0};
    size_t n = strlen(text);
    char *clean = malloc(lq_utf8_room(n));
    if (clean != NULL) {
        size_t size = lq_utf8_push(&stream, text, n, clean);
        size += lq_utf8_finish(&stream, clean + size);
        write_value(w, json_stringn(clean, size), 0);
    }
    w->failed |= clean == NULL;
    free(clean);
}

static void write_text(struct writer *w, const struct lq_field *f, const void *base)
{
    const char *text = *(char *const *)((const char *)base + f->offset);
    write_string(w, text == NULL ? "" : text);
}

static void write_optional(struct writer *w, const struct lq_field *f, const void *base)
{
    const char *text = *(char *const *)((const char *)base + f->offset);
    if (text != NULL) write_string(w, text);
    else fputs("null", w->out);
}

static void write_sha256(struct writer *w, const struct lq_field *f, const void *base)
{
    const char *text = (const char *)base + f->offset;
    if (text[0] != '\0') write_string(w, text);
    else fputs("null", w->out);
}

static void write_half(struct writer *w, const struct lq_field *f, const void *base)
{
    write_string(w, lq_result_halves[*(const enum lq_half *)((const char *)base + f->offset)]);
}

static void write_role(struct writer *w, const struct lq_field *f, const void *base)
{
    write_string(w, lq_role_name(*(const enum lq_role *)((const char *)base + f->offset)));
}

static void write_type(struct writer *w, const struct lq_field *f, const void *base)
{
    write_string(w, lq_format_name(*(const enum lq_type *)((const char *)base + f->offset)));
}

static void write_fields(struct writer *w, const struct lq_fields *table, const void *base, bool first);

static void write_object(struct writer *w, const struct lq_field *f, const void *base)
{
    fputc('{', w->out);
    w->depth++;
    write_fields(w, f->inner, (const char *)base + f->offset, true);
    w->depth--;
    break_line(w, true);
    fputc('}', w->out);
}

static void write_if_true(struct writer *w, const struct lq_field *f, const void *base)
{
    if (*(const bool *)((const char *)base + f->guard)) write_object(w, f, base);
    else fputs("null", w->out);
}

static void write_if_text(struct writer *w, const struct lq_field *f, const void *base)
{
    if (*(char *const *)((const char *)base + f->guard) != NULL) write_object(w, f, base);
    else fputs("null", w->out);
}

static void write_element(struct writer *w, const struct lq_field *f, const char *element, bool first)
{
    if (!first) fputc(',', w->out);
    break_line(w, first);
    w->in_line = true;
    fputc('{', w->out);
    write_fields(w, f->inner, element, true);
    fputc('}', w->out);
    w->in_line = false;
}

static void write_list(struct writer *w, const struct lq_field *f, const void *base)
{
    const char *list;
    memcpy(&list, (const char *)base + f->offset, sizeof list);
    size_t n = *(const size_t *)((const char *)base + f->guard);
    fputc('[', w->out);
    w->depth++;
    for (size_t i = 0; i < n; i++) write_element(w, f, list + i * f->size, i == 0);
    w->depth--;
    if (n > 0) break_line(w, true);
    fputc(']', w->out);
}

static void write_fields(struct writer *w, const struct lq_fields *table, const void *base, bool first)
{
    static void (*const writers[LQ_FIELD_KINDS])(struct writer *, const struct lq_field *, const void *) = {
        [LQ_FIELD_NUMBER] = write_number,     [LQ_FIELD_COUNT] = write_count,     [LQ_FIELD_THREADS] = write_threads,
        [LQ_FIELD_BLOCK] = write_block,       [LQ_FIELD_FLAG] = write_flag,       [LQ_FIELD_TEXT] = write_text,
        [LQ_FIELD_OPTIONAL] = write_optional, [LQ_FIELD_SHA256] = write_sha256,   [LQ_FIELD_HALF] = write_half,
        [LQ_FIELD_ROLE] = write_role,         [LQ_FIELD_TYPE] = write_type,       [LQ_FIELD_OBJECT] = write_object,
        [LQ_FIELD_IF_TRUE] = write_if_true,   [LQ_FIELD_IF_TEXT] = write_if_text, [LQ_FIELD_LIST] = write_list,
    };
    for (const struct lq_field *f = table->fields; f < table->fields + table->n; f++, first = false) {
        if (!first) fputc(',', w->out);
        break_line(w, first);
        fprintf(w->out, "\"%s\": ", f->name);
        writers[f->kind](w, f, base);
    }
}

enum lq_status lq_evaluation_to_json(char **out, size_t *size, const struct lq_evaluation *evaluation,
                                     struct lq_error *err)
{
    char *text = NULL, *verdict = NULL;
    size_t n = 0;
    enum lq_status status = lq_evaluation_verdict(&verdict, evaluation, err);
    if (status != LQ_OK) return status;
    struct writer w = {.out = open_memstream(&text, &n), .depth = 1};
    if (w.out != NULL) {
        fprintf(w.out, "{\n  \"format\": \"%s\",\n  \"version\": %d,\n  \"verdict\": ", LQ_RESULT_FORMAT,
                LQ_RESULT_VERSION);
        write_string(&w, verdict);
        write_fields(&w, &lq_result_fields, evaluation, false);
        fputs("\n}\n", w.out);
        w.failed |= ferror(w.out) != 0;
    }
    free(verdict);
    if (w.out == NULL || fclose(w.out) != 0 || w.failed) {
        free(text);
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the result of the evaluation as JSON");
    }
    *out = text;
    *size = n;
    return LQ_OK;
}
