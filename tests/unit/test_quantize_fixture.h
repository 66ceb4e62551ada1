/* Models to quantise: the demo, and GGUF files with any tensors a test wants. Shared by the test_quantize programs. */
#ifndef LQ_TEST_QUANTIZE_FIXTURE_H
#define LQ_TEST_QUANTIZE_FIXTURE_H

#include "base/file.h"
#include "llava_quantize/quantize.h"
#include "test_write_fixture.h"

#define DEMO_MODEL LQ_DEMO "/model"

struct made_tensor {
    const char *name;
    enum lq_type type;
    uint32_t n_dims;
    uint64_t ne[4];
    const void *data;
};

/* Writes one half of any content under `path`, replacing what is there. */
static inline void make_gguf(const char *path, enum lq_half half, const struct made_tensor *made, size_t n)
{
    struct lq_output_tensor tensors[16];
    struct lq_output *o = NULL;
    struct lq_kvs kvs = {0};
    struct lq_error err = {0};
    for (size_t i = 0; i < n; i++) {
        tensors[i] = (struct lq_output_tensor){made[i].name, made[i].type, made[i].n_dims, {1, 1, 1, 1}};
        memcpy(tensors[i].ne, made[i].ne, made[i].n_dims * sizeof made[i].ne[0]);
    }
    lq_kvs_set_string(&kvs, "general.architecture", half == LQ_VISION ? "clip" : "llama", &err);
    lq_kvs_set_string(&kvs, "split.no", "left over", &err);
    lq_kvs_set_string(&kvs, "llava_quantize.pair_id", FIXTURE_ID, &err);
    assert_int_equal(lq_output_open(&o, &path, 1, true, &err), LQ_OK);
    assert_int_equal(lq_output_begin(o, 0, &kvs, tensors, n, 32, &err), LQ_OK);
    for (size_t i = 0; i < n; i++) {
        uint64_t *ne = tensors[i].ne, bytes = ne[1] * ne[2] * ne[3] * lq_format_row_bytes(made[i].type, ne[0]);
        assert_int_equal(lq_output_write(o, 0, i, 0, made[i].data, bytes, &err), LQ_OK);
    }
    if (lq_output_commit(o, FIXTURE_ID, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_output_close(o);
    lq_kvs_release(&kvs);
}

/* Importance data for one tensor, in the older binary form. */
static inline struct lq_stats *make_imatrix(const char *path, const char *tensor, const float *values, int32_t n)
{
    struct lq_stats *stats = NULL;
    struct lq_error err = {0};
    FILE *f = fopen(path, "wb");
    int32_t one = 1, length = (int32_t)strlen(tensor);
    assert_non_null(f);
    fwrite(&one, sizeof one, 1, f);
    fwrite(&length, sizeof length, 1, f);
    fwrite(tensor, 1, (size_t)length, f);
    fwrite(&one, sizeof one, 1, f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(values, sizeof *values, (size_t)n, f);
    assert_int_equal(fclose(f), 0);
    if (lq_stats_load(&stats, path, &err) != LQ_OK) fail_msg("%s", err.message);
    return stats;
}

/* What a test asks for; everything but the paths may be left out. */
struct ask {
    const char *input, *output, *spec;
    unsigned threads;
    const struct lq_stats *stats;
    const struct lq_hooks *hooks;
    const char *pattern, *type; /* one --type rule */
    bool vision_only, keep_split;
    uint64_t split_size, memory;
    enum lq_effort effort;
    enum lq_method method;
};

/* Opens, plans, quantises. The caller releases `result` after LQ_OK. `first_type`, if given: the first entry's final
 * type. */
static inline enum lq_status quantize(const struct ask *ask, struct lq_quantize_result *result,
                                      enum lq_type *first_type, struct lq_error *err)
{
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    struct lq_model_options model_options = {.only = ask->vision_only ? LQ_VISION : -1};
    struct lq_plan_rule rule = {ask->pattern, ask->type};
    struct lq_plan_request request = {
        .spec = ask->spec, .rules = &rule, .n_rules = ask->pattern != NULL, .stats = ask->stats};
    struct lq_quantize_options options = {.output = ask->output,
                                          .force = true,
                                          .threads = ask->threads,
                                          .stats = ask->stats,
                                          .hooks = ask->hooks,
                                          .keep_split = ask->keep_split,
                                          .split_size = ask->split_size,
                                          .memory = ask->memory,
                                          .effort = ask->effort,
                                          .method = ask->method};
    enum lq_status status = lq_model_open(&model, ask->input, &model_options, err);
    if (status == LQ_OK) status = lq_plan_build(&plan, model, &request, err);
    if (status == LQ_OK) status = lq_quantize(model, plan, &options, result, err);
    if (status == LQ_OK && first_type != NULL) *first_type = plan->entries[0].type;
    lq_plan_free(plan);
    lq_model_free(model);
    return status;
}

static inline void quantize_or_fail(const struct ask *ask, struct lq_quantize_result *result)
{
    struct lq_error err = {0};
    if (quantize(ask, result, NULL, &err) != LQ_OK) fail_msg("%s", err.message);
}

/* The same, for a test that looks at the files only. */
static inline void quantize_files(const struct ask *ask)
{
    struct lq_quantize_result result;
    quantize_or_fail(ask, &result);
    lq_quantize_result_release(&result);
}

/* One tensor's data from a file; free() it. */
static inline void *tensor_data(const char *path, const char *name, enum lq_type *type, uint64_t *bytes)
{
    struct lq_source *s = NULL;
    struct lq_error err = {0};
    if (lq_source_open(&s, path, &err) != LQ_OK) fail_msg("%s", err.message);
    const struct lq_source_tensor *t = lq_source_find(s, name);
    assert_non_null(t);
    void *data = malloc(t->bytes);
    assert_int_equal(lq_source_read(s, t, 0, t->bytes, data, &err), LQ_OK);
    *type = t->type;
    *bytes = t->bytes;
    lq_source_close(s);
    return data;
}

static inline void assert_same_file(const char *a, const char *b)
{
    struct lq_error err = {0};
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    if (lq_file_load(a, 1u << 28, &x, &n, &err) != LQ_OK) fail_msg("%s", err.message);
    if (lq_file_load(b, 1u << 28, &y, &m, &err) != LQ_OK) fail_msg("%s", err.message);
    if (n != m || memcmp(x, y, n) != 0) fail_msg("%s and %s differ", a, b);
    free(x);
    free(y);
}

#endif
