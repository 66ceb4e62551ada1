/* The pipeline on input that is wrong or does not fit: named, and nothing left behind. */
#include "test_quantize_fixture.h"

#include "codec/encode.h"

#include <math.h>
#include <stdatomic.h>

enum { COLUMNS = 64, ROWS = 40, WEIGHTS = COLUMNS * ROWS };

#define FEED "blk.0.ffn_up.weight"
#define NORM "blk.0.ffn_norm.weight"

static float weights[WEIGHTS], norm[COLUMNS];

static int reset(void **state)
{
    for (int i = 0; i < WEIGHTS; i++) weights[i] = (float)((i * 37) % 101 - 50) / 1000;
    for (int i = 0; i < COLUMNS; i++) norm[i] = 1;
    return fixture_make(state);
}

/* A language half of one matrix and one norm, quantised to `spec`. */
static enum lq_status run(const char *folder, const char *spec, enum lq_type *type, struct lq_error *err)
{
    const struct made_tensor made[] = {{FEED, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, weights},
                                       {NORM, LQ_TYPE_F32, 1, {COLUMNS}, norm}};
    char *in = fixture_path(folder, "in.gguf"), *out = fixture_path(folder, "out.gguf");
    struct lq_quantize_result result;
    make_gguf(in, LQ_LANGUAGE, made, 2);
    enum lq_status status =
        quantize(&(struct ask){.input = in, .output = out, .spec = spec, .threads = 2}, &result, type, err);
    if (status == LQ_OK) lq_quantize_result_release(&result);
    else assert_int_equal(access(out, F_OK), -1);
    free(in);
    free(out);
    return status;
}

static void assert_names(const struct lq_error *err, const char *const *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(err->message, parts[i]) == NULL) fail_msg("'%s' is not in: %s", parts[i], err->message);
}

static void bad_weights_are_named(void **state)
{
    struct lq_error err = {0};
    weights[17 * COLUMNS + 5] = NAN;
    assert_int_equal(run(*state, "q8_0", NULL, &err), LQ_ERR_FORMAT);
    assert_names(&err, (const char *[]){"in.gguf: tensor '" FEED "'", "row 17, column 5", "nan"}, 3);
    weights[17 * COLUMNS + 5] = INFINITY;
    assert_int_equal(run(*state, "f32", NULL, &err), LQ_ERR_FORMAT); /* copied, and looked at all the same */
    assert_names(&err, (const char *[]){"row 17, column 5", "inf"}, 2);
    weights[17 * COLUMNS + 5] = 0;
    norm[9] = -INFINITY;
    assert_int_equal(run(*state, "q8_0", NULL, &err), LQ_ERR_FORMAT);
    assert_names(&err, (const char *[]){"'" NORM "'", "row 0, column 9", "-inf"}, 3);
}

/* The lowest bad row is the one named, whichever worker comes first. */
static void the_first_bad_weight_is_named(void **state)
{
    enum { LONG_ROWS = 40000 };
    float *many = calloc((size_t)COLUMNS * LONG_ROWS, sizeof *many);
    for (int row = 5000; row < LONG_ROWS; row += 3) many[row * COLUMNS + 3] = NAN;
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf");
    make_gguf(in, LQ_LANGUAGE, &(struct made_tensor){FEED, LQ_TYPE_F32, 2, {COLUMNS, LONG_ROWS}, many}, 1);
    for (unsigned threads = 1; threads <= 8; threads *= 2) {
        struct lq_quantize_result result;
        struct lq_error err = {0};
        struct ask ask = {.input = in, .output = out, .spec = "q8_0", .threads = threads};
        assert_int_equal(quantize(&ask, &result, NULL, &err), LQ_ERR_FORMAT);
        assert_names(&err, (const char *[]){"row 5000, column 3"}, 1);
    }
    free(many);
    free(in);
    free(out);
}

/* A worker that fails in the middle, while others write: its error, and nothing else, is what the run leaves. */
static void a_failing_tensor_stops_the_run(void **state)
{
    enum { TENSORS = 9, LONG_ROWS = 2000 };
    struct made_tensor made[TENSORS];
    char names[TENSORS][32], before[STATE_SIZE];
    float *good = calloc((size_t)COLUMNS * LONG_ROWS, sizeof *good), *bad = calloc((size_t)COLUMNS * LONG_ROWS, 4);
    bad[1234 * COLUMNS + 7] = INFINITY;
    for (int i = 0; i < TENSORS; i++) {
        snprintf(names[i], sizeof names[i], "blk.%d.ffn_up.weight", i);
        made[i] = (struct made_tensor){names[i], LQ_TYPE_F32, 2, {COLUMNS, LONG_ROWS}, i == 4 ? bad : good};
    }
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf");
    make_gguf(in, LQ_LANGUAGE, made, TENSORS);
    fixture_state(*state, before);
    for (unsigned threads = 1; threads <= 64; threads *= 4) {
        struct lq_quantize_result result;
        struct lq_error err = {0};
        struct ask ask = {.input = in, .output = out, .spec = "q4_0", .threads = threads};
        assert_int_equal(quantize(&ask, &result, NULL, &err), LQ_ERR_FORMAT);
        assert_names(&err, (const char *[]){"tensor 'blk.4.ffn_up.weight'", "row 1234, column 7"}, 2);
        assert_state(*state, before);
    }
    free(good);
    free(bad);
    free(in);
    free(out);
}

/* A scale beyond f16 must not become an infinity: the tensor gets a larger type, the others keep theirs. */
static void overflow_widens_the_type(void **state)
{
    struct lq_error err = {0};
    enum lq_type type = LQ_TYPE_NONE;
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf");
    assert_int_equal(run(*state, "q4_0", &type, &err), LQ_OK);
    assert_int_equal(type, LQ_TYPE_Q4_0);
    weights[100] = 5e6f; /* over 8 * 65504, under 127 * 65504 */
    if (run(*state, "q4_0", &type, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_true(type != LQ_TYPE_Q4_0);
    enum lq_type written;
    uint64_t bytes;
    void *data = tensor_data(out, FEED, &written, &bytes), *expected = malloc(bytes);
    assert_int_equal(written, type);
    assert_int_equal(bytes, ROWS * lq_format_row_bytes(type, COLUMNS));
    assert_int_equal(lq_codec_encode(type, weights, ROWS, COLUMNS, NULL, LQ_EFFORT_NORMAL, expected, &err), LQ_OK);
    assert_memory_equal(data, expected, bytes);
    free(data);
    free(expected);
    weights[100] = 1e30f; /* only f32 and bf16 hold it */
    assert_int_equal(run(*state, "q4_0", &type, &err), LQ_OK);
    assert_true(type == LQ_TYPE_F32 || type == LQ_TYPE_BF16);
    free(in);
    free(out);
}

static void widening_is_logged(void *data, enum lq_log_level level, const char *message)
{
    assert_int_equal(level, LQ_LOG_WARN);
    assert_non_null(strstr(message, "weights overflow q"));
    ++*(int *)data;
}

static void overflow_is_told_and_repeatable(void **state)
{
    weights[100] = 5e6f;
    int told = 0;
    struct lq_hooks hooks = {.data = &told, .log = widening_is_logged};
    struct lq_error err = {0};
    assert_int_equal(run(*state, "q4_0", NULL, &err), LQ_OK);
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf"),
         *again = fixture_path(*state, "again.gguf");
    quantize_files(&(struct ask){.input = in, .output = again, .spec = "q4_0", .threads = 1, .hooks = &hooks});
    assert_true(told >= 1);
    assert_same_file(out, again);
    free(in);
    free(out);
    free(again);
}

/* Weights whose largest barely fits q4_0, and an importance that makes the search for scales step over the edge. */
static void overflow_with_importance_alone(float *importance)
{
    uint8_t coded[COLUMNS];
    struct lq_error err = {0};
    uint32_t seed = 1;
    enum lq_status plain = LQ_OK, weighted = LQ_OK;
    for (int tries = 0; plain != LQ_OK || weighted == LQ_OK; tries++) {
        if (tries == 100000) fail_msg("no such weights");
        for (int i = 0; i < COLUMNS; i++) {
            seed = seed * 1664525 + 1013904223;
            weights[i] = 516000.f * ((float)(seed >> 8) * 0x1p-23f - 1);
            seed = seed * 1664525 + 1013904223;
            importance[i] = exp2f((float)(seed >> 28));
        }
        plain = lq_codec_encode(LQ_TYPE_Q4_0, weights, 1, COLUMNS, NULL, LQ_EFFORT_NORMAL, coded, &err);
        weighted = lq_codec_encode(LQ_TYPE_Q4_0, weights, 1, COLUMNS, importance, LQ_EFFORT_NORMAL, coded, &err);
    }
}

static void last_message(void *data, enum lq_log_level level, const char *message)
{
    assert_int_equal(level, LQ_LOG_WARN);
    snprintf(data, 512, "%s", message);
}

/* Scales that overflow under the statistics alone: the tensor keeps its type, is encoded without them, and is listed;
 * where plain scales overflow too it gets a larger type, and its statistics again. */
static void statistics_that_overflow_are_dropped(void **state)
{
    float importance[COLUMNS];
    char message[512] = "";
    struct lq_error err = {0};
    struct lq_hooks hooks = {.data = message, .log = last_message};
    char *in = fixture_path(*state, "in.gguf"), *out = fixture_path(*state, "out.gguf"),
         *file = fixture_path(*state, "stats");
    overflow_with_importance_alone(importance);
    struct lq_stats *stats = make_imatrix(file, FEED, importance, COLUMNS);
    struct ask ask = {.input = in, .output = out, .spec = "q4_0", .threads = 2, .stats = stats, .hooks = &hooks};
    for (int round = 0; round < 2; round++) {
        enum lq_type type = round == 0 ? LQ_TYPE_Q4_0 : LQ_TYPE_NONE;
        uint64_t bytes;
        make_gguf(in, LQ_LANGUAGE, &(struct made_tensor){FEED, LQ_TYPE_F32, 2, {COLUMNS, ROWS}, weights}, 1);
        quantize_files(&ask);
        if (round == 0)
            assert_string_equal(message, "tensor '" FEED "': scales overflow q4_0 under the statistics: "
                                         "encoded without them");
        else assert_non_null(strstr(message, "': weights overflow q4_0: "));
        void *data = tensor_data(out, FEED, &type, &bytes), *expected = malloc(bytes);
        assert_true((type == LQ_TYPE_Q4_0) == (round == 0));
        assert_int_equal(lq_codec_encode(type, weights, ROWS, COLUMNS, round == 0 ? NULL : importance, LQ_EFFORT_NORMAL,
                                         expected, &err),
                         LQ_OK);
        assert_memory_equal(data, expected, bytes);
        free(data);
        free(expected);
        weights[9 * COLUMNS] = 600000;
    }
    lq_stats_free(stats);
    free(in);
    free(out);
    free(file);
}

static bool after_some(void *data)
{
    return atomic_fetch_sub((atomic_int *)data, 1) <= 0;
}

static void cancelling_leaves_nothing(void **state)
{
    char *out = fixture_path(*state, "new"), *in_place = fixture_path(*state, "m.gguf"), before[STATE_SIZE];
    fixture_state(*state, before);
    for (int after = 0; after < 60; after += 7) {
        for (unsigned threads = 1; threads <= 3; threads += 2) {
            atomic_int left = after;
            struct lq_hooks hooks = {.data = &left, .cancelled = after_some};
            struct lq_quantize_result result;
            struct lq_error err = {0};
            struct ask ask = {.input = DEMO_MODEL,
                              .output = threads == 1 ? out : in_place,
                              .spec = "q8_0",
                              .threads = threads,
                              .hooks = &hooks};
            assert_int_equal(quantize(&ask, &result, NULL, &err), LQ_ERR_CANCELLED);
            assert_state(*state, before);
        }
    }
    free(out);
    free(in_place);
}

/* Paths for the demo model and a plan; free both. */
static enum lq_status paths_for(const char *input, bool vision_only, const char *output, char *path[LQ_HALVES],
                                struct lq_error *err)
{
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    struct lq_quantize_file *files = NULL;
    size_t n = 0;
    struct lq_model_options options = {.only = vision_only ? LQ_VISION : -1};
    struct lq_plan_request request = {.spec = "Q8_0"};
    struct lq_quantize_options wishes = {.output = output};
    assert_int_equal(lq_model_open(&model, input, &options, err), LQ_OK);
    assert_int_equal(lq_plan_build(&plan, model, &request, err), LQ_OK);
    enum lq_status status = lq_quantize_files(&files, &n, model, plan, &wishes, err);
    path[LQ_VISION] = path[LQ_LANGUAGE] = NULL;
    for (size_t i = 0; i < n; i++) path[files[i].half] = strdup(files[i].path);
    lq_quantize_files_free(files, n);
    lq_plan_free(plan);
    lq_model_free(model);
    return status;
}

static void output_names(void **state)
{
    (void)state;
    static const struct {
        const char *output;
        bool vision_only;
        const char *vision, *language;
    } cases[] = {
        {"out", false, "out/mmproj-model-Q8_0.gguf", "out/model-Q8_0.gguf"},
        {"out/", false, "out/mmproj-model-Q8_0.gguf", "out/model-Q8_0.gguf"},
        {"/", false, "/mmproj-model-Q8_0.gguf", "/model-Q8_0.gguf"},
        {"a/b.gguf", false, "a/mmproj-b.gguf", "a/b.gguf"},
        {"B.GGUF", false, "mmproj-B.GGUF", "B.GGUF"},
        {".gguf", false, ".gguf/mmproj-model-Q8_0.gguf", ".gguf/model-Q8_0.gguf"},
        {"out", true, "out/mmproj-model-Q8_0.gguf", NULL},
        {"a/b.gguf", true, "a/b.gguf", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path[LQ_HALVES];
        struct lq_error err = {0};
        assert_int_equal(paths_for(DEMO_MODEL, cases[i].vision_only, cases[i].output, path, &err), LQ_OK);
        assert_string_equal(path[LQ_VISION], cases[i].vision);
        if (cases[i].language == NULL) assert_null(path[LQ_LANGUAGE]);
        else assert_string_equal(path[LQ_LANGUAGE], cases[i].language);
        free(path[LQ_VISION]);
        free(path[LQ_LANGUAGE]);
    }
    char *path[LQ_HALVES] = {NULL, NULL};
    struct lq_error err = {0};
    assert_int_equal(paths_for(DEMO_MODEL, false, "", path, &err), LQ_ERR_USAGE);
}

static void output_must_not_be_input(void **state)
{
    struct lq_error err = {0};
    char *in = fixture_path(*state, "in.gguf"), *hard = fixture_path(*state, "hard.gguf"),
         *soft = fixture_path(*state, "soft.gguf");
    char *weights_link = fixture_path(*state, "weights.gguf"), *other = fixture_path(*state, "other.gguf"),
         *path[LQ_HALVES];
    assert_int_equal(run(*state, "f16", NULL, &err), LQ_OK);
    assert_int_equal(link(in, hard), 0);
    assert_int_equal(symlink(in, soft), 0);
    assert_int_equal(symlink(DEMO_MODEL "/model.safetensors", weights_link), 0);
    const char *const same[] = {in, hard, soft};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(paths_for(in, false, same[i], path, &err), LQ_ERR_USAGE);
        assert_names(&err, (const char *[]){same[i], "is also the input", in}, 3);
    }
    assert_int_equal(paths_for(DEMO_MODEL, false, weights_link, path, &err), LQ_ERR_USAGE);
    assert_int_equal(paths_for(in, false, other, path, &err), LQ_OK);
    free(path[LQ_LANGUAGE]);
    free(in);
    free(hard);
    free(soft);
    free(weights_link);
    free(other);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, reset, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(bad_weights_are_named),           IN_FOLDER(the_first_bad_weight_is_named),
        IN_FOLDER(a_failing_tensor_stops_the_run),  IN_FOLDER(overflow_widens_the_type),
        IN_FOLDER(overflow_is_told_and_repeatable), IN_FOLDER(statistics_that_overflow_are_dropped),
        IN_FOLDER(cancelling_leaves_nothing),       cmocka_unit_test(output_names),
        IN_FOLDER(output_must_not_be_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
