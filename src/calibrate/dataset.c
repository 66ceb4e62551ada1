#include "llava_quantize/dataset.h"

#include "base/file.h"
#include "base/hash.h"
#include "calibrate/dataset_draw.h"
#include "calibrate/dataset_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t largest_file = UINT64_C(256)
                                     << 20; /* bytes; the file is read as a whole, and jansson counts in int */
enum {
    MOST_RECORDS = 1000000,
    LARGEST_RECORD = 8 << 20, /* bytes of JSON, which may take fifty times as much memory once parsed */
    MOST_NAMED = 10,          /* broken records that get a line of their own */
    JSON_FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY,
};

struct load {
    const char *path;
    const char *folder; /* goes before relative image paths */
    const struct lq_dataset_options *options;
    const char *text;
    size_t size, at, line; /* `line` is the one at `at`, from 1 */
    struct lq_record *records;
    size_t n, capacity, n_broken;
    struct lq_error first; /* of the broken records */
};

static enum lq_status no_memory(const char *path, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory", path);
}

/* ---- records, good and broken ---- */

static void warn(const struct load *l, const struct lq_error *message)
{
    const struct lq_hooks *hooks = l->options->hooks;
    if (hooks != NULL && hooks->log != NULL) hooks->log(hooks->data, LQ_LOG_WARN, message->message);
}

/* The record that begins at `line` cannot be used, because of `why`. */
static enum lq_status note_broken(struct load *l, size_t line, struct lq_error *why, struct lq_error *err)
{
    struct lq_error named;
    lq_error_prefix(why, "line %zu: record %zu", line, l->n + l->n_broken + 1);
    lq_error_set(&named, LQ_ERR_FORMAT, "%s: %s", l->path, why->message);
    if (l->options->strict) return lq_error_set(err, LQ_ERR_FORMAT, "%s", named.message);
    if (l->n_broken == 0) l->first = *why;
    if (l->n_broken < MOST_NAMED) warn(l, &named);
    l->n_broken++;
    return LQ_OK;
}

/* Room for one more record. */
static enum lq_status make_room(struct load *l, struct lq_error *err)
{
    if (l->n + l->n_broken == MOST_RECORDS)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %zu: more than %d records: split the file", l->path, l->line,
                            MOST_RECORDS);
    if (l->n < l->capacity) return LQ_OK;
    size_t capacity = l->capacity == 0 ? 256 : 2 * l->capacity;
    struct lq_record *records = realloc(l->records, capacity * sizeof *records);
    if (records == NULL) return no_memory(l->path, err);
    l->records = records;
    l->capacity = capacity;
    return LQ_OK;
}

static enum lq_status add_record(struct load *l, size_t line, const json_t *value, struct lq_error *err)
{
    const struct lq_hooks *hooks = l->options->hooks;
    struct lq_error why = {0};
    if (hooks != NULL && hooks->cancelled != NULL && hooks->cancelled(hooks->data))
        return lq_error_set(err, LQ_ERR_CANCELLED, "%s: cancelled", l->path);
    enum lq_status status = make_room(l, err);
    if (status != LQ_OK) return status;
    status = lq_dataset_record_read(&l->records[l->n], value, l->folder, l->n + l->n_broken + 1, &why);
    if (status == LQ_ERR_FORMAT) return note_broken(l, line, &why, err);
    if (status != LQ_OK) return no_memory(l->path, err);
    l->n++;
    return LQ_OK;
}

/* ---- the two containers ---- */

static void advance(struct load *l, size_t n)
{
    const char *at = l->text + l->at, *end = at + n;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        l->line++;
        at++;
    }
    l->at += n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct load *l)
{
    size_t n = 0;
    while (l->at + n < l->size && is_blank(l->text[l->at + n])) n++;
    advance(l, n);
}

/* The character at `at` after n more and white space; 0 at the end. */
static char step(struct load *l, size_t n)
{
    advance(l, n);
    skip_blanks(l);
    return l->at < l->size ? l->text[l->at] : '\0';
}

/* The record in hand, whose JSON could not be read: `near_end`, because its end is farther than LARGEST_RECORD. */
static enum lq_status refuse_element(const struct load *l, const json_error_t *why, bool near_end, struct lq_error *err)
{
    size_t number = l->n + l->n_broken + 1;
    if (near_end)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %zu: record %zu: longer than %d bytes", l->path, l->line,
                            number, LARGEST_RECORD);
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %zu: record %zu: not valid JSON: %s", l->path,
                        l->line + (size_t)why->line - 1, number, why->text);
}

static enum lq_status read_element(struct load *l, struct lq_error *err)
{
    json_error_t why;
    size_t line = l->line, left = l->size - l->at, n = left < LARGEST_RECORD ? left : LARGEST_RECORD;
    json_t *value = json_loadb(l->text + l->at, n, JSON_FLAGS | JSON_DISABLE_EOF_CHECK, &why);
    if (value == NULL && json_error_code(&why) == json_error_out_of_memory) return no_memory(l->path, err);
    if (value == NULL) return refuse_element(l, &why, n < left && (size_t)why.position + 4 >= n, err);
    advance(l, (size_t)why.position);
    enum lq_status status = add_record(l, line, value, err);
    json_decref(value);
    return status;
}

/* [record, record, ...]. A fault in the JSON itself ends the load: nothing behind it can be trusted. */
static enum lq_status read_list(struct load *l, struct lq_error *err)
{
    char c = step(l, 1);
    for (bool more = c != ']'; more;) {
        enum lq_status status = read_element(l, err);
        if (status != LQ_OK) return status;
        c = step(l, 0);
        more = c == ',';
        if (more) step(l, 1);
    }
    if (c != ']')
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %zu: the list is cut off or damaged behind record %zu",
                            l->path, l->line, l->n + l->n_broken);
    step(l, 1);
    if (l->at < l->size)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %zu: more text behind the list", l->path, l->line);
    return LQ_OK;
}

/* One line of `size` bytes at `at`. */
static enum lq_status read_line(struct load *l, size_t size, struct lq_error *err)
{
    json_error_t at;
    struct lq_error why;
    if (size > LARGEST_RECORD) {
        lq_error_set(&why, LQ_ERR_FORMAT, "longer than %d bytes", LARGEST_RECORD);
        return note_broken(l, l->line, &why, err);
    }
    json_t *value = json_loadb(l->text + l->at, size, JSON_FLAGS, &at);
    if (value == NULL && json_error_code(&at) == json_error_out_of_memory) return no_memory(l->path, err);
    if (value == NULL) {
        lq_error_set(&why, LQ_ERR_FORMAT, "not valid JSON: column %d: %s", at.column, at.text);
        return note_broken(l, l->line, &why, err);
    }
    enum lq_status status = add_record(l, l->line, value, err);
    json_decref(value);
    return status;
}

/* A record a line; a line whose JSON is damaged is one broken record. */
static enum lq_status read_lines(struct load *l, struct lq_error *err)
{
    enum lq_status status = LQ_OK;
    for (step(l, 0); status == LQ_OK && l->at < l->size; step(l, 0)) {
        const char *start = l->text + l->at, *end = memchr(start, '\n', l->size - l->at);
        size_t n = end != NULL ? (size_t)(end - start) : l->size - l->at;
        status = read_line(l, n, err);
        advance(l, n);
    }
    return status;
}

/* ---- the whole ---- */

/* Files that are taken for data sets by mistake. */
static const struct {
    const char *magic;
    size_t n;
    const char *what;
} others[] = {{"GGUF", 4, "a GGUF model"},      {"\x89PNG", 4, "a PNG picture"}, {"\xff\xd8\xff", 3, "a JPEG picture"},
              {"GIF8", 4, "a GIF picture"},     {"BM", 2, "a BMP picture"},      {"PK\x03\x04", 4, "a zip archive"},
              {"PAR1", 4, "a Parquet table"},   {"\x1f\x8b", 2, "a gzip file"},  {"\xff\xfe", 2, "text in UTF-16"},
              {"\xfe\xff", 2, "text in UTF-16"}};

static enum lq_status refuse(const struct load *l, struct lq_error *err)
{
    static const char expected[] = "expected a JSON list of records or one JSON object a line, in UTF-8";
    const char *at = l->text + l->at;
    size_t left = l->size - l->at;
    if (l->size == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: the file is empty, %s", l->path, expected);
    if (left == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: only white space, %s", l->path, expected);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (left >= others[i].n && memcmp(at, others[i].magic, others[i].n) == 0)
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: this is %s, %s", l->path, others[i].what, expected);
    if (*at > ' ' && *at <= '~')
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %zu begins with '%c', %s", l->path, l->line, *at, expected);
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: byte %zu is 0x%02x, %s", l->path, l->at, (unsigned char)*at, expected);
}

static enum lq_status read_container(struct load *l, struct lq_error *err)
{
    bool mark = l->size >= 3 && memcmp(l->text, "\xef\xbb\xbf", 3) == 0; /* of UTF-8 */
    switch (step(l, mark ? 3 : 0)) {
    case '[': return read_list(l, err);
    case '{': return read_lines(l, err);
    default: return refuse(l, err);
    }
}

static enum lq_status check_broken(const struct load *l, struct lq_error *err)
{
    size_t total = l->n + l->n_broken;
    struct lq_error more;
    if (total == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s: an empty list: no record in it", l->path);
    if (l->n_broken * 10 > total)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %zu of %zu records are broken, more than a tenth; the first: %s",
                            l->path, l->n_broken, total, l->first.message);
    if (l->n_broken <= MOST_NAMED) return LQ_OK;
    lq_error_set(&more, LQ_ERR_FORMAT, "%s: and %zu more broken records", l->path, l->n_broken - MOST_NAMED);
    warn(l, &more);
    return LQ_OK;
}

/* What stands before relative image paths: `images` or the folder of `path`, "" or with a slash at its end; free(). */
static char *folder_of(const char *path, const char *images)
{
    char *folder = NULL;
    size_t n = images != NULL ? strlen(images) : 0;
    const char *slash = strrchr(path, '/');
    if (images == NULL) return strndup(path, slash != NULL ? (size_t)(slash + 1 - path) : 0);
    return asprintf(&folder, "%s%s", images, n > 0 && images[n - 1] != '/' ? "/" : "") < 0 ? NULL : folder;
}

static void release_records(struct lq_record *records, size_t n)
{
    for (size_t i = 0; i < n; i++) lq_dataset_record_release(&records[i]);
    free(records);
}

/* Moves the records into the data set. */
static void hand_over(struct lq_dataset *data, struct load *l)
{
    data->records = l->records;
    data->n_records = l->n;
    data->n_broken = l->n_broken;
    for (size_t i = 0; i < l->n; i++) data->n_turns += l->records[i].n_turns;
    l->records = NULL;
    l->n = 0;
}

static enum lq_status load(struct lq_dataset *data, struct load *l, struct lq_error *err)
{
    const struct lq_dataset_options *o = l->options;
    enum lq_status status = read_container(l, err);
    if (status == LQ_OK) status = check_broken(l, err);
    if (status == LQ_OK)
        status = lq_dataset_draw(l->records, &l->n, &data->n_pictures, l->folder, o->limit, o->seed, err);
    if (status != LQ_OK) return status;
    lq_hash_text(data->hash, XXH3_128bits(l->text, l->size));
    hand_over(data, l);
    return LQ_OK;
}

enum lq_status lq_dataset_load(struct lq_dataset **out, const char *path, const struct lq_dataset_options *options,
                               struct lq_error *err)
{
    static const struct lq_dataset_options defaults = {.images = NULL};
    struct load l = {.path = path, .options = options != NULL ? options : &defaults, .line = 1};
    char *text = NULL, *folder = folder_of(path, l.options->images);
    struct lq_dataset *data = calloc(1, sizeof *data);
    enum lq_status status;
    if (data == NULL || folder == NULL || (data->path = strdup(path)) == NULL) {
        status = no_memory(path, err);
        goto done;
    }
    status = lq_file_load(path, largest_file, &text, &l.size, err);
    if (status != LQ_OK) goto done;
    l.text = text;
    l.folder = folder;
    status = load(data, &l, err);
    if (status != LQ_OK) goto done;
    *out = data;
    data = NULL;
done:
    lq_dataset_free(data);
    release_records(l.records, l.n);
    free(folder);
    free(text);
    return status;
}

void lq_dataset_free(struct lq_dataset *data)
{
    if (data == NULL) return;
    release_records((struct lq_record *)data->records, data->n_records);
    free((char *)data->path);
    free(data);
}
