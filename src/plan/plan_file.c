#include "plan/plan_file.h"

#include "base/file.h"
#include "plan/entry.h"
#include "plan/plan_judged.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "llava-quantize plan"
enum { VERSION = 1, LARGEST_FILE = 16 << 20 };

static const char *const half_names[LQ_HALVES] = {"vision", "language"};

/* ---- saving ---- */

static json_t *shape_of(const struct lq_plan_entry *entry)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < entry->tensor->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)entry->ne[i]));
    return shape;
}

/* One line of the file; free(). NULL for a name that is no UTF-8, or without memory. */
static char *entry_line(const struct lq_plan_entry *entry)
{
    const struct lq_tensor *t = entry->tensor;
    const char *type = lq_format_name(entry->type);
    char reason[sizeof entry->reason + 16];
    snprintf(reason, sizeof reason, "%s: %s", type, entry->reason);
    json_t *object =
        json_pack("{ss ss ss so ss ss ss}", "name", t->name, "half", half_names[t->half], "role", lq_role_name(t->role),
                  "shape", shape_of(entry), "from", lq_format_name(t->type), "type", type, "reason", reason);
    json_t *judged = object == NULL ? NULL : lq_judgement_to_json(&entry->judged);
    if (judged != NULL) json_object_set_new(object, "judged", judged);
    char *line = object == NULL ? NULL : json_dumps(object, LQ_PLAN_DIGITS);
    json_decref(object);
    return line;
}

static void print_quality(FILE *out, const struct lq_plan *plan)
{
    json_t *object = lq_quality_to_json(&plan->quality);
    char *text = object == NULL ? NULL : json_dumps(object, LQ_PLAN_DIGITS);
    if (text != NULL) fprintf(out, "\"quality\": %s,\n", text);
    json_decref(object);
    free(text);
}

static enum lq_status print_entries(FILE *out, const struct lq_plan *plan, const char *path, struct lq_error *err)
{
    for (size_t i = 0; i < plan->n_entries; i++) {
        char *line = entry_line(&plan->entries[i]);
        if (line == NULL)
            return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: tensor '%s': its name is not UTF-8, which JSON demands",
                                path, plan->entries[i].tensor->name);
        fprintf(out, "%s%s\n", line, i + 1 < plan->n_entries ? "," : "");
        free(line);
    }
    return LQ_OK;
}

enum lq_status lq_plan_save(const struct lq_plan *plan, const char *path, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the plan", path);
    fprintf(out, "{\"format\": \"%s\", \"version\": %d,\n\"recipe\": \"%s\", \"tag\": \"%s\",\n", FORMAT, VERSION,
            plan->recipe, plan->tag);
    fprintf(out, "\"file_type\": {\"vision\": %d, \"language\": %d},\n", plan->file_type[LQ_VISION],
            plan->file_type[LQ_LANGUAGE]);
    print_quality(out, plan);
    fputs("\"tensors\": [\n", out);
    enum lq_status status = print_entries(out, plan, path, err);
    fputs("]}\n", out);
    bool whole = !ferror(out);
    if (fclose(out) != 0 || !whole) status = lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the plan", path);
    if (status == LQ_OK) status = lq_file_save(path, text, size, err);
    free(text);
    return status;
}

/* ---- loading ---- */

/* What stands while a file is read. */
struct load {
    const char *name; /* of the file */
    const struct lq_model *model;
    const struct lq_plan_request *request;
    struct lq_plan *plan;
    struct lq_plan_entry **sorted; /* by half and name */
    bool *seen;                    /* by place in plan->entries */
    struct lq_tower tower;         /* whose shapes may be larger than the model's */
    bool has_tower;
    uint64_t hidden; /* of the tower as planned; 0: no line has told yet */
    bool edited;
};

static int compare_keys(enum lq_half a_half, const char *a, enum lq_half b_half, const char *b)
{
    return a_half != b_half ? (a_half > b_half) - (a_half < b_half) : strcmp(a, b);
}

static int compare_entries(const void *a, const void *b)
{
    const struct lq_tensor *x = (*(struct lq_plan_entry *const *)a)->tensor,
                           *y = (*(struct lq_plan_entry *const *)b)->tensor;
    return compare_keys(x->half, x->name, y->half, y->name);
}

struct key {
    enum lq_half half;
    const char *name;
};

static int compare_key(const void *key, const void *entry)
{
    const struct key *k = key;
    const struct lq_tensor *t = (*(struct lq_plan_entry *const *)entry)->tensor;
    return compare_keys(k->half, k->name, t->half, t->name);
}

static enum lq_status load_init(struct load *l, struct lq_error *err)
{
    enum lq_status status = lq_plan_new(&l->plan, l->model, err);
    if (status != LQ_OK) return status;
    size_t n = l->plan->n_entries;
    l->sorted = calloc(n > 0 ? n : 1, sizeof *l->sorted);
    l->seen = calloc(n > 0 ? n : 1, sizeof *l->seen);
    if (l->sorted == NULL || l->seen == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for the plan", l->name);
    for (size_t i = 0; i < n; i++) l->sorted[i] = &l->plan->entries[i];
    qsort(l->sorted, n, sizeof *l->sorted, compare_entries);
    const struct lq_model_half *vision = l->model->half[LQ_VISION];
    l->has_tower = vision != NULL && lq_tower_find(&l->tower, vision);
    return LQ_OK;
}

/* Refuses the first key of `object` that is not in the NULL-terminated list. */
static enum lq_status check_keys(const struct load *l, json_t *object, const char *where, const char *const *known,
                                 struct lq_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, key) != 0) k++;
        if (*k == NULL) return lq_error_set(err, LQ_ERR_FORMAT, "%s: %.160s: unknown key '%.64s'", l->name, where, key);
    }
    return LQ_OK;
}

/* A string of at most size - 1 bytes; absent: left as it is. */
static enum lq_status get_text(const struct load *l, json_t *object, const char *where, const char *key, char *dst,
                               size_t size, struct lq_error *err)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL) return LQ_OK;
    if (!json_is_string(value))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %.160s: key '%s' is no string", l->name, where, key);
    if (json_string_length(value) >= size)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: %.160s: key '%s' is longer than %zu bytes", l->name, where, key,
                            size - 1);
    memcpy(dst, json_string_value(value), json_string_length(value) + 1);
    return LQ_OK;
}

static enum lq_status read_half(const struct load *l, const char *where, const char *text, enum lq_half *half,
                                struct lq_error *err)
{
    for (int h = 0; h < LQ_HALVES; h++)
        if (strcmp(text, half_names[h]) == 0) {
            *half = (enum lq_half)h;
            return LQ_OK;
        }
    return lq_error_set(err, LQ_ERR_FORMAT, "%s: %.160s: half '%s' is neither vision nor language", l->name, where,
                        text);
}

static enum lq_status refuse_shape(const struct load *l, const struct lq_tensor *t, struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': the shape is not the model's: the plan is for another model", l->name,
                        t->name);
}

/* Every tensor of the tower that depends on the hidden size must give the same one. */
static enum lq_status read_hidden(struct load *l, const struct lq_plan_entry *entry, uint64_t hidden,
                                  struct lq_error *err)
{
    const char *name = entry->tensor->name;
    uint64_t least = l->tower.hidden, end = least + LQ_TOWER_STEP;
    if (hidden < least || hidden >= end || hidden == l->tower.width)
        return lq_error_set(err, LQ_ERR_FORMAT,
                            "%s: tensor '%s': a feed-forward of %" PRIu64 ", expected %" PRIu64
                            ", or padded with zeros to less than %" PRIu64 "%s",
                            l->name, name, hidden, least, end,
                            hidden == l->tower.width ? " and not as wide as the tower" : "");
    if (l->hidden == 0) l->hidden = hidden;
    if (l->hidden == hidden) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT,
                        "%s: tensor '%s': a feed-forward of %" PRIu64 ", but %" PRIu64
                        " in tensors before it: all blocks must be padded alike",
                        l->name, name, hidden, l->hidden);
}

/* The shape that the line says: the tensor's, or that in a wider tower. */
static enum lq_status read_shape(struct load *l, json_t *object, struct lq_plan_entry *entry, struct lq_error *err)
{
    const struct lq_tensor *t = entry->tensor;
    json_t *shape = json_object_get(object, "shape");
    uint64_t ne[4] = {1, 1, 1, 1}, wider[4], hidden = 0;
    if (shape == NULL) memcpy(ne, t->ne, sizeof ne);
    else if (!json_is_array(shape) || json_array_size(shape) != t->n_dims) return refuse_shape(l, t, err);
    for (size_t i = 0; shape != NULL && i < t->n_dims; i++) {
        json_t *n = json_array_get(shape, i);
        if (!json_is_integer(n) || json_integer_value(n) < 0) return refuse_shape(l, t, err);
        ne[i] = (uint64_t)json_integer_value(n);
    }
    if (!l->has_tower || !lq_tower_shape(&l->tower, t, l->tower.hidden, wider))
        return memcmp(ne, t->ne, sizeof ne) == 0 ? LQ_OK : refuse_shape(l, t, err);
    for (size_t i = 0; i < 4; i++)
        if (wider[i] == l->tower.hidden) hidden = ne[i];
    lq_tower_shape(&l->tower, t, hidden, wider);
    if (memcmp(ne, wider, sizeof ne) != 0) return refuse_shape(l, t, err);
    lq_entry_set_hidden(entry, &l->tower, hidden);
    return read_hidden(l, entry, hidden, err);
}

/* The entry that the line is about. */
static enum lq_status find_entry(struct load *l, json_t *object, struct lq_plan_entry **entry, struct lq_error *err)
{
    char half[16] = "";
    const char *name = json_string_value(json_object_get(object, "name"));
    if (name == NULL) return lq_error_set(err, LQ_ERR_FORMAT, "%s: a tensor without a name", l->name);
    struct key key = {LQ_LANGUAGE, name};
    enum lq_status status = get_text(l, object, name, "half", half, sizeof half, err);
    if (status == LQ_OK) status = read_half(l, name, half, &key.half, err);
    if (status != LQ_OK) return status;
    struct lq_plan_entry **found = bsearch(&key, l->sorted, l->plan->n_entries, sizeof *l->sorted, compare_key);
    if (found == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%.128s': %s has none of this name in its %s half", l->name,
                            name, l->model->path, half);
    size_t i = (size_t)(*found - l->plan->entries);
    if (l->seen[i]) return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%.128s' stands there twice", l->name, name);
    l->seen[i] = true;
    *entry = *found;
    return LQ_OK;
}

/* A saved reason begins with the type it explains, and then the padding; one that begins with another shows that the
 * entry was edited. */
static void read_reason(struct load *l, struct lq_plan_entry *entry, const char *text)
{
    const char *type = lq_format_name(entry->type);
    size_t n = strlen(type);
    bool fits = strncmp(text, type, n) == 0 && strncmp(text + n, ": ", 2) == 0;
    snprintf(entry->reason, sizeof entry->reason, "%s", fits ? text + n + 2 : "");
    if (fits && lq_entry_tells_padding(entry)) return;
    l->edited = true;
    entry->judged = (struct lq_plan_judgement){0};
    snprintf(entry->reason, sizeof entry->reason, "plan file");
    lq_entry_say_padding(entry, LQ_TYPE_NONE);
}

static enum lq_status read_type(const struct load *l, json_t *object, struct lq_plan_entry *entry, struct lq_error *err)
{
    char text[32] = "";
    enum lq_status status = get_text(l, object, entry->tensor->name, "type", text, sizeof text, err);
    if (status != LQ_OK) return status;
    const struct lq_format *f = lq_format_find(text);
    bool known = f != NULL && ((f->flags & LQ_FORMAT_TARGET) != 0 || f->type == entry->tensor->keep);
    if (!known)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s': unknown type '%s'", l->name, entry->tensor->name,
                            text);
    entry->type = f->type;
    return LQ_OK;
}

static enum lq_status read_entry(struct load *l, json_t *object, struct lq_error *err)
{
    static const char *const known[] = {"name", "half", "role", "shape", "from", "type", "reason", "judged", NULL};
    struct lq_plan_entry *entry = NULL;
    char reason[sizeof entry->reason + 16] = "";
    if (!json_is_object(object))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: 'tensors' holds something that is no object", l->name);
    enum lq_status status = find_entry(l, object, &entry, err);
    if (status != LQ_OK) return status;
    const char *name = entry->tensor->name;
    const json_t *judged = json_object_get(object, "judged");
    status = check_keys(l, object, name, known, err);
    if (status == LQ_OK && judged != NULL) status = lq_judgement_from_json(&entry->judged, judged, l->name, name, err);
    if (status == LQ_OK) status = read_shape(l, object, entry, err);
    if (status == LQ_OK) status = read_type(l, object, entry, err);
    if (status == LQ_OK) status = get_text(l, object, name, "reason", reason, sizeof reason, err);
    if (status != LQ_OK) return status;
    read_reason(l, entry, reason);
    return lq_entry_finish(entry, l->name, l->request, false, err);
}

static enum lq_status read_tensors(struct load *l, json_t *root, struct lq_error *err)
{
    json_t *tensors = json_object_get(root, "tensors"), *object;
    size_t i;
    if (!json_is_array(tensors)) return lq_error_set(err, LQ_ERR_FORMAT, "%s: no array 'tensors'", l->name);
    json_array_foreach(tensors, i, object)
    {
        enum lq_status status = read_entry(l, object, err);
        if (status != LQ_OK) return status;
    }
    for (i = 0; i < l->plan->n_entries; i++)
        if (!l->seen[i])
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: tensor '%s' of the model is missing", l->name,
                                l->plan->entries[i].tensor->name);
    return LQ_OK;
}

/* The file types as recorded; of an edited plan those that the types now suggest. */
static enum lq_status read_file_types(struct load *l, json_t *root, struct lq_error *err)
{
    json_t *recorded = json_object_get(root, "file_type");
    for (int h = 0; h < LQ_HALVES; h++) {
        json_t *value = json_object_get(recorded, half_names[h]);
        if (value != NULL &&
            (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 1023))
            return lq_error_set(err, LQ_ERR_FORMAT, "%s: file_type of the %s half is no file type", l->name,
                                half_names[h]);
        l->plan->file_type[h] =
            value != NULL && !l->edited ? (int)json_integer_value(value) : lq_plan_file_type(l->plan, (enum lq_half)h);
    }
    return check_keys(l, recorded, "file_type", (const char *const[]){"vision", "language", NULL}, err);
}

/* Fit for a file name and for JSON without escapes. */
static bool is_plain(const char *text)
{
    if (text[0] == '\0' || text[0] == '.') return false;
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || strchr("/\\\"", *text) != NULL) return false;
    return true;
}

static enum lq_status read_names(struct load *l, json_t *root, struct lq_error *err)
{
    struct lq_plan *plan = l->plan;
    static const char edited[] = ", edited", nameless[] = "plan file";
    snprintf(plan->recipe, sizeof plan->recipe, "%s", nameless);
    snprintf(plan->tag, sizeof plan->tag, "custom");
    enum lq_status status = get_text(l, root, "plan", "recipe", plan->recipe, sizeof plan->recipe, err);
    if (status == LQ_OK) status = get_text(l, root, "plan", "tag", plan->tag, sizeof plan->tag, err);
    if (status != LQ_OK) return status;
    if (!is_plain(plan->tag) || !is_plain(plan->recipe))
        return lq_error_set(
            err, LQ_ERR_FORMAT,
            "%s: recipe or tag is empty, begins with a dot, or holds a slash, quote or control character", l->name);
    size_t n = strlen(plan->recipe), m = strlen(edited);
    bool says_so = strcmp(plan->recipe, nameless) == 0 || (n >= m && strcmp(plan->recipe + n - m, edited) == 0);
    if (l->edited && !says_so && n + sizeof edited <= sizeof plan->recipe)
        memcpy(plan->recipe + n, edited, sizeof edited);
    return LQ_OK;
}

/* What was estimated and measured is not that of an edited plan. */
static enum lq_status read_quality(struct load *l, json_t *root, struct lq_error *err)
{
    const json_t *object = json_object_get(root, "quality");
    struct lq_plan_quality quality;
    if (object == NULL) return LQ_OK;
    enum lq_status status = lq_quality_from_json(&quality, object, l->name, err);
    if (status == LQ_OK && !l->edited) l->plan->quality = quality;
    return status;
}

static enum lq_status read_root(struct load *l, json_t *root, struct lq_error *err)
{
    static const char *const known[] = {"format", "version", "recipe", "tag", "file_type", "quality", "tensors", NULL};
    const char *format = json_string_value(json_object_get(root, "format"));
    if (format == NULL || strcmp(format, FORMAT) != 0)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: not a plan: the key 'format' does not say '%s'", l->name, FORMAT);
    json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version) || json_integer_value(version) != VERSION)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: a plan of another version than %d", l->name, VERSION);
    enum lq_status status = check_keys(l, root, "plan", known, err);
    if (status == LQ_OK) status = load_init(l, err);
    if (status == LQ_OK) status = read_tensors(l, root, err);
    if (status == LQ_OK) status = read_file_types(l, root, err);
    if (status == LQ_OK) status = read_names(l, root, err);
    if (status == LQ_OK) status = read_quality(l, root, err);
    return status;
}

enum lq_status lq_plan_parse(struct lq_plan **out, const char *text, size_t size, const char *name,
                             const struct lq_model *model, const struct lq_plan_request *request, struct lq_error *err)
{
    json_error_t where;
    struct load l = {.name = name, .model = model, .request = request};
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s: line %d, column %d: %s", name, where.line, where.column,
                            where.text);
    enum lq_status status = read_root(&l, root, err);
    if (status == LQ_OK) *out = l.plan;
    else lq_plan_free(l.plan);
    json_decref(root);
    free(l.sorted);
    free(l.seen);
    return status;
}

enum lq_status lq_plan_load(struct lq_plan **out, const char *path, const struct lq_model *model,
                            const struct lq_plan_request *request, struct lq_error *err)
{
    char *text = NULL;
    size_t size = 0;
    enum lq_status status = lq_file_load(path, LARGEST_FILE, &text, &size, err);
    if (status == LQ_OK) status = lq_plan_parse(out, text, size, path, model, request, err);
    free(text);
    return status;
}
