/* Reading the curve that `plan --curve` wrote. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "evaluate/result_fields.h"
#include "llava_quantize/report.h"

#define AT(type, member) offsetof(struct type, member)
#define NUMBER(json, member) \
    { \
        .name = (json), .kind = LQ_FIELD_NUMBER, .offset = AT(lq_curve_point, member), .high = INFINITY \
    }

static const uint64_t largest_file = UINT64_C(1) << 20;

static const struct lq_field point[] = {
    {.name = "bytes", .kind = LQ_FIELD_COUNT, .offset = AT(lq_curve_point, bytes)},
    NUMBER("bpw", bpw),
    NUMBER("estimate", estimate),
    NUMBER("measured", measured),
    NUMBER("error", error),
};
static const struct lq_fields point_table = {sizeof point / sizeof *point, point};

static const struct lq_field root[] = {
    {.name = "model", .kind = LQ_FIELD_TEXT, .offset = AT(lq_curve, model)},
    {.name = "data", .kind = LQ_FIELD_OPTIONAL, .offset = AT(lq_curve, data)},
    {.name = "questions", .kind = LQ_FIELD_COUNT, .offset = AT(lq_curve, questions)},
    {.name = "effort", .kind = LQ_FIELD_TEXT, .offset = AT(lq_curve, effort)},
    {.name = "points",
     .kind = LQ_FIELD_LIST,
     .offset = AT(lq_curve, points),
     .guard = AT(lq_curve, n),
     .inner = &point_table,
     .size = sizeof(struct lq_curve_point)},
};
static const struct lq_fields curve_table = {sizeof root / sizeof *root, root};

enum lq_status lq_curve_load(struct lq_curve **out, const char *path, struct lq_error *err)
{
    static const struct lq_document document = {"llava-quantize curve", "a curve of sizes", "plan --curve", 1,
                                                &curve_table};
    char *text = NULL;
    size_t size = 0;
    struct lq_curve *curve = calloc(1, sizeof *curve);
    if (curve == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "%s: no memory for a curve", path);
    enum lq_status status = lq_file_load(path, largest_file, &text, &size, err);
    if (status == LQ_OK) status = lq_document_read(&document, text, size, path, curve, err);
    free(text);
    if (status == LQ_OK) *out = curve;
    else lq_curve_free(curve);
    return status;
}

void lq_curve_free(struct lq_curve *curve)
{
    if (curve == NULL) return;
    lq_fields_release(&curve_table, curve);
    free(curve);
}
