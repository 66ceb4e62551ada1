/* Plan files: what is saved comes back, what is edited shows, what is wrong is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/plan_file.h"
#include "plan_models.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pair pair;
static char folder[64], path[96];
static char *saved; /* the text of a saved "layered" plan */

static char *read_text(void)
{
    char *text = calloc(1, 65536);
    FILE *f = fopen(path, "rb");
    assert_non_null(text);
    assert_non_null(f);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

static struct lq_plan *build(const char *spec)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    if (lq_plan_build(&plan, &pair.model, &(struct lq_plan_request){.spec = spec}, &err) != LQ_OK)
        fail_msg("%s", err.message);
    return plan;
}

static void save(const struct lq_plan *plan)
{
    struct lq_error err = {0};
    if (lq_plan_save(plan, path, &err) != LQ_OK) fail_msg("%s", err.message);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/lq-plan-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/plan.json", folder);
    pair_init(&pair, LQ_TYPE_F16);
    struct lq_plan *plan = build("layered");
    save(plan);
    saved = read_text();
    lq_plan_free(plan);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(saved);
    unlink(path);
    return rmdir(folder);
}

/* The saved text with the first `from` replaced; free(). */
static char *edit(const char *from, const char *to)
{
    const char *at = strstr(saved, from);
    char *text = malloc(strlen(saved) + strlen(to) + 1);
    assert_non_null(at);
    assert_non_null(text);
    sprintf(text, "%.*s%s%s", (int)(at - saved), saved, to, at + strlen(from));
    return text;
}

static enum lq_status parse(struct lq_plan **plan, const char *text, struct lq_error *err)
{
    return lq_plan_parse(plan, text, strlen(text), "plan.json", &pair.model, &(struct lq_plan_request){0}, err);
}

static void refuse_text(const char *text, const char *message)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    assert_int_not_equal(parse(&plan, text, &err), LQ_OK);
    assert_string_equal(err.message, message);
    assert_null(plan);
}

static void refuse(const char *from, const char *to, const char *message)
{
    char *text = edit(from, to);
    refuse_text(text, message);
    free(text);
}

static struct lq_plan *load(const char *text)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    if (parse(&plan, text, &err) != LQ_OK) fail_msg("%s", err.message);
    return plan;
}

static void check_same(const struct lq_plan *a, const struct lq_plan *b)
{
    assert_string_equal(a->recipe, b->recipe);
    assert_string_equal(a->tag, b->tag);
    assert_memory_equal(a->file_type, b->file_type, sizeof a->file_type);
    assert_int_equal(a->n_entries, b->n_entries);
    for (size_t i = 0; i < a->n_entries; i++) {
        assert_ptr_equal(a->entries[i].tensor, b->entries[i].tensor);
        assert_int_equal(a->entries[i].type, b->entries[i].type);
        assert_int_equal(a->entries[i].bytes, b->entries[i].bytes);
        assert_string_equal(a->entries[i].reason, b->entries[i].reason);
    }
}

static void test_saved_plans_come_back(void **state)
{
    (void)state;
    static const char *const specs[] = {"layered", "4", "Q4_K_M", "q4_k", "f32", "copy"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        struct lq_plan *plan = build(specs[i]), *back = NULL;
        struct lq_error err = {0};
        save(plan);
        if (lq_plan_load(&back, path, &pair.model, &(struct lq_plan_request){0}, &err) != LQ_OK)
            fail_msg("%s", err.message);
        check_same(plan, back);
        char *first = read_text();
        save(back);
        char *second = read_text();
        assert_string_equal(first, second);
        free(first);
        free(second);
        lq_plan_free(back);
        lq_plan_free(plan);
    }
}

static void test_text_is_for_people(void **state)
{
    (void)state;
    static const char head[] = "{\"format\": \"llava-quantize plan\", \"version\": 1,\n"
                               "\"recipe\": \"layered\", \"tag\": \"layered\",\n"
                               "\"file_type\": {\"vision\": 1, \"language\": 7},\n"
                               "\"tensors\": [\n"
                               "{\"name\": \"v.class_embd\", \"half\": \"vision\", \"role\": \"class_embedding\", "
                               "\"shape\": [512], \"from\": \"f32\", "
                               "\"type\": \"f32\", \"reason\": \"f32: never quantised\"},\n";
    if (strncmp(saved, head, strlen(head)) != 0) assert_string_equal(saved, head);
    size_t lines = 0;
    for (const char *c = saved; *c != '\0'; c++) lines += *c == '\n';
    assert_int_equal(lines, 4 + VISION_TENSORS + LANGUAGE_TENSORS + 1);
}

static void test_edits_show(void **state)
{
    (void)state;
    char *text =
        edit("\"type\": \"q4_k\", \"reason\": \"q4_k: layered\"", "\"type\": \"Q6_K\", \"reason\": \"q4_k: layered\"");
    struct lq_plan *plan = load(text), *again = NULL;
    assert_int_equal(plan->entries[7].type, LQ_TYPE_Q6_K);
    assert_string_equal(plan->entries[7].reason, "plan file");
    assert_string_equal(plan->entries[8].reason, "layered");
    assert_int_equal(plan->entries[7].bytes, 1280 * 2 * 210);
    assert_string_equal(plan->recipe, "layered, edited");
    save(plan);
    char *second = read_text();
    again = load(second);
    check_same(plan, again);
    lq_plan_free(plan);
    lq_plan_free(again);
    free(text);
    free(second);
}

static void test_little_is_needed(void **state)
{
    (void)state;
    char text[8192];
    size_t used = (size_t)sprintf(text, "{\"format\":\"llava-quantize plan\",\"version\":1,\"tensors\":[");
    for (size_t i = VISION_TENSORS + LANGUAGE_TENSORS; i-- > 0;) { /* any order */
        const struct lq_tensor *t = i < VISION_TENSORS ? &pair.vision[i] : &pair.language[i - VISION_TENSORS];
        used += (size_t)sprintf(text + used, "{\"name\":\"%s\",\"half\":\"%s\",\"type\":\"%s\"}%s", t->name,
                                i < VISION_TENSORS ? "vision" : "language", t->quantisable ? "f16" : "f32",
                                i > 0 ? "," : "]}");
    }
    struct lq_plan *plan = load(text);
    assert_string_equal(plan->recipe, "plan file");
    assert_string_equal(plan->tag, "custom");
    assert_int_equal(plan->file_type[LQ_LANGUAGE], 1);
    assert_string_equal(plan->entries[0].tensor->name, "v.class_embd");
    lq_plan_free(plan);
}

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    refuse("llava-quantize plan", "cake recipe",
           "plan.json: not a plan: the key 'format' does not say 'llava-quantize plan'");
    refuse("\"version\": 1", "\"version\": 2", "plan.json: a plan of another version than 1");
    refuse("\"tag\"", "\"tags\"", "plan.json: plan: unknown key 'tags'");
    refuse("\"from\"", "\"form\"", "plan.json: v.class_embd: unknown key 'form'");
    refuse("{\"vision\": 1", "{\"Vision\": 1", "plan.json: file_type: unknown key 'Vision'");
    refuse("\"vision\": 1", "\"vision\": -1", "plan.json: file_type of the vision half is no file type");
    refuse("blk.0.attn_k.weight", "blk.7.attn_k.weight",
           "plan.json: tensor 'blk.7.attn_k.weight': pair has none of this name in its language half");
    refuse("blk.0.attn_k.weight", "blk.0.attn_q.weight", "plan.json: tensor 'blk.0.attn_q.weight' stands there twice");
    refuse("\"q4_k\", \"reason\"", "\"q4_z\", \"reason\"",
           "plan.json: tensor 'v.blk.0.ffn_up.weight': unknown type 'q4_z'");
    refuse("\"q4_k\", \"reason\"", "\"q8_k\", \"reason\"",
           "plan.json: tensor 'v.blk.0.ffn_up.weight': unknown type 'q8_k'");
    refuse("\"q4_k\", \"reason\"", "\"iq2_xs\", \"reason\"",
           "plan.json: tensor 'v.blk.0.ffn_up.weight': iq2_xs needs importance data; llama-imatrix gathers it for the "
           "language model "
           "only: give the vision half another type, such as --vision q4_k");
    refuse("\"iq4_nl\", \"reason\"", "\"q4_k\", \"reason\"",
           "plan.json: tensor 'v.blk.1.ffn_up.weight': 1152 columns do not divide into q4_k blocks of 256");
    refuse("\"f32\", \"reason\": \"f32: never", "\"q8_0\", \"reason\": \"f32: never",
           "plan.json: tensor 'v.class_embd' (class_embedding) is never quantised: it stays f32, not q8_0");
    refuse("[512]", "[511]",
           "plan.json: tensor 'v.class_embd': the shape is not the model's: the plan is for another model");
    refuse("\"half\": \"vision\"", "\"half\": \"ear\"",
           "plan.json: v.class_embd: half 'ear' is neither vision nor language");
    refuse("\"name\": \"v.class_embd\", ", "", "plan.json: a tensor without a name");
    refuse("\"reason\": \"f32: never quantised\"", "\"reason\": 3",
           "plan.json: v.class_embd: key 'reason' is no string");
    refuse("\"tag\": \"layered\"", "\"tag\": \"../up\"",
           "plan.json: recipe or tag is empty, begins with a dot, or holds a slash, quote or control character");
    refuse("\"recipe\": \"layered\"", "\"recipe\": \"a\\nb\"",
           "plan.json: recipe or tag is empty, begins with a dot, or holds a slash, quote or control character");
    refuse("\"recipe\": \"layered\"",
           "\"recipe\": \"12345678901234567890123456789012345678901234567890123456789012345678901234567890"
           "1234567890123456\"",
           "plan.json: plan: key 'recipe' is longer than 95 bytes");
    refuse("\"tensors\"", "\"recipe\"", "plan.json: line 4, column 8: duplicate object key near '\"recipe\"'");
    refuse_text("", "plan.json: line 1, column 0: '[' or '{' expected near end of file");
    refuse_text("[]", "plan.json: not a plan: the key 'format' does not say 'llava-quantize plan'");
    refuse_text("{\"format\": \"llava-quantize plan\", \"version\": 1}", "plan.json: no array 'tensors'");
    refuse_text("{\"format\": \"llava-quantize plan\", \"version\": 1, \"tensors\": [1]}",
                "plan.json: 'tensors' holds something that is no object");
    refuse_text("{\"format\": \"llava-quantize plan\", \"version\": 1, \"tensors\": []}",
                "plan.json: tensor 'v.class_embd' of the model is missing");
}

/* A plan as the strategy makes it, saved. */
static struct lq_plan *save_judged(void)
{
    struct lq_plan *plan = build("layered");
    plan->quality = (struct lq_plan_quality){"auto-4.2G", 0.0123, 0.0131, NAN, "calibration \"a\".json, 48 records"};
    plan->entries[7].judged =
        (struct lq_plan_judgement){true, 0.001024, 0.012345, 1.264128e-05, LQ_TYPE_Q5_K, 20480, 8.1e-06};
    plan->entries[8].judged = (struct lq_plan_judgement){true, 0, NAN, 0, LQ_TYPE_NONE, 0, 0};
    save(plan);
    free(saved);
    saved = read_text();
    return plan;
}

static void test_judgements_come_back(void **state)
{
    (void)state;
    struct lq_plan *plan = save_judged(), *again = load(saved);
    assert_non_null(strstr(saved, "\"quality\": {\"goal\": \"auto-4.2G\", \"estimate\": 0.0123, \"measured\": 0.0131, "
                                  "\"data\": \"calibration \\\"a\\\".json, 48 records\"},\n\"tensors\": [\n"));
    assert_non_null(strstr(saved, "\"q4_k: layered\", \"judged\": {\"error\": 0.001024, \"sensitivity\": 0.012345, "
                                  "\"divergence\": 1.26413e-5, \"next\": \"q5_k\", \"next_bytes\": 20480, "
                                  "\"next_gain\": 8.1e-6}}"));
    assert_non_null(strstr(saved, "\"q4_k: layered\", \"judged\": {\"error\": 0.0, \"divergence\": 0.0}}"));
    check_same(plan, again);
    assert_string_equal(again->quality.goal, plan->quality.goal);
    assert_string_equal(again->quality.data, plan->quality.data);
    assert_true(again->quality.estimate == 0.0123 && again->quality.measured == 0.0131 && isnan(again->quality.error));
    const struct lq_plan_judgement *judged = &again->entries[7].judged;
    assert_true(judged->known && judged->error == 0.001024 && judged->divergence == 1.26413e-05);
    assert_true(judged->next == LQ_TYPE_Q5_K && judged->next_bytes == 20480 && judged->next_gain == 8.1e-06);
    assert_true(again->entries[8].judged.known && isnan(again->entries[8].judged.sensitivity));
    assert_int_equal(again->entries[8].judged.next, LQ_TYPE_NONE);
    assert_false(again->entries[6].judged.known);
    save(again);
    char *second = read_text();
    assert_string_equal(second, saved);
    free(second);
    lq_plan_free(again);
    lq_plan_free(plan);
}

/* One entry edited: its judgement goes, and the whole plan's; the others' stay. */
static void test_an_edit_takes_its_judgement(void **state)
{
    (void)state;
    lq_plan_free(save_judged());
    char *text =
        edit("\"type\": \"q4_k\", \"reason\": \"q4_k: layered\"", "\"type\": \"Q6_K\", \"reason\": \"q4_k: layered\"");
    struct lq_plan *plan = load(text);
    assert_string_equal(plan->recipe, "layered, edited");
    assert_string_equal(plan->quality.goal, "");
    assert_false(plan->entries[7].judged.known);
    assert_true(plan->entries[8].judged.known);
    lq_plan_free(plan);
    free(text);
}

static void test_wrong_judgements_are_named(void **state)
{
    (void)state;
    lq_plan_free(save_judged());
    refuse("\"goal\": \"auto-4.2G\", ", "",
           "plan.json: key 'quality.goal' is missing, expected what the plan was made for, such as auto-4.2G");
    refuse("auto-4.2G", "auto-auto-auto-auto-auto-auto-auto", "plan.json: key 'quality.goal' is longer than 31 bytes");
    refuse("\"estimate\": 0.0123", "\"estimates\": 0.0123", "plan.json: unknown key 'quality.estimates'");
    refuse("\"measured\": 0.0131", "\"measured\": -1",
           "plan.json: key 'quality.measured' is -1, expected a number that is not negative");
    refuse("\"quality\": {", "\"quality\": 3, \"tag2\": {", "plan.json: plan: unknown key 'tag2'");
    refuse("\"judged\": {\"error\": 0.001024, ", "\"judged\": {",
           "plan.json: key 'v.blk.0.ffn_up.weight.judged.error' is missing, expected a number that is not negative");
    refuse("\"sensitivity\": 0.012345", "\"sensitivity\": \"much\"",
           "plan.json: key 'v.blk.0.ffn_up.weight.judged.sensitivity' is \"much\", expected a number that is not "
           "negative");
    refuse("\"divergence\": 1.26413e-5", "\"price\": 5", "plan.json: unknown key 'v.blk.0.ffn_up.weight.judged.price'");
    refuse("\"next\": \"q5_k\"", "\"next\": \"q5_z\"",
           "plan.json: key 'v.blk.0.ffn_up.weight.judged.next' is \"q5_z\", expected a ggml type such as q8_0");
    refuse("\"next_bytes\": 20480", "\"next_bytes\": 0.5",
           "plan.json: key 'v.blk.0.ffn_up.weight.judged.next_bytes' is 0.5, expected a number of bytes");
    refuse(
        ", \"next_gain\": 8.1e-6", "",
        "plan.json: key 'v.blk.0.ffn_up.weight.judged.next_gain' is missing, expected a number that is not negative");
    refuse("\"judged\": {\"error\": 0.0, \"divergence\": 0.0}", "\"judged\": true",
           "plan.json: 'v.blk.0.ffn_down.weight.judged' is no object");
}

static void explain(const struct lq_plan *plan, size_t entry, const char *expected)
{
    char text[1024], little[40];
    size_t n = lq_plan_explain(plan, entry, text, sizeof text);
    assert_string_equal(text, expected);
    assert_int_equal(n, strlen(text));
    assert_int_equal(lq_plan_explain(plan, entry, little, sizeof little), sizeof little - 1);
    assert_memory_equal(little, text, sizeof little - 1);
    assert_int_equal(lq_plan_explain(plan, entry, little, 0), 0);
}

static void test_entries_explain_themselves(void **state)
{
    (void)state;
    struct lq_plan *plan = save_judged();
    plan->entries[11].judged = (struct lq_plan_judgement){true, 0.0001, NAN, 0.0001, LQ_TYPE_F16, 400000, 0.00005};
    plan->entries[11].judged.divergence = 1.264128e-05;
    plan->entries[11].judged.next_gain = 6.32064e-06;
    explain(
        plan, 7,
        "v.blk.0.ffn_up.weight (vision.ffn.up, 512 x 1280) becomes q4_k: 368640 bytes, 4.5 bits per weight; f16 took "
        "1310720.\nReason: layered.\nIts outputs are off by 3.2 % (root mean square), a squared error of 0.00102; at "
        "0.0123 nats for each unit of it, the answers diverge by 1.26e-05 nats. That is 50 % of what all tensors "
        "cost.\n20480 bytes more would buy q5_k and take away 64.1 % of that: 8.1e-06 nats, 0.000396 for each "
        "megabyte.\n");
    explain(
        plan, 8,
        "v.blk.0.ffn_down.weight (vision.ffn.down, 1280 x 512) becomes q4_k: 368640 bytes, 4.5 bits per weight; f16 "
        "took 1310720.\nReason: layered.\nIts outputs are off by 0 % (root mean square); how much the answers depend "
        "on them was not measured. That is 0 % of what all tensors cost.\nNo larger type that it may take would make "
        "it better.\n");
    explain(
        plan, 11,
        "mm.0.weight (projector, 512 x 768) becomes q8_0: 417792 bytes, 8.5 bits per weight; f16 took "
        "786432.\nReason: layered.\nIts outputs are off by 1 % (root mean square); how much the answers depend on "
        "them was not measured. That is 50 % of what all tensors cost.\n400000 bytes more would buy f16 and take away "
        "50 % of that.\n");
    explain(plan, 14,
            "blk.0.attn_q.weight (language.attention.q, 768 x 768) stays f16: 1179648 bytes, 16 bits per "
            "weight.\nReason: layered.\nWhat it costs is not known: the plan is no automatic one, or this entry was "
            "edited.\n");
    explain(
        plan, 0,
        "v.class_embd (class_embedding, 512) stays f32: 2048 bytes, 32 bits per weight.\nReason: never quantised.\n");
    lq_plan_free(plan);
}

/* Every format stands once in one of the lists of docs/plan.schema.json: may it be asked for, or only kept? */
static void check_types(const json_t *schema, const char *list, bool target)
{
    const json_t *names = json_object_get(json_object_get(json_object_get(schema, "$defs"), list), "enum");
    size_t i, expected = 0;
    json_t *name;
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *format = lq_format_get(type);
        expected += format != NULL && ((format->flags & LQ_FORMAT_TARGET) != 0) == target;
    }
    assert_int_equal(json_array_size(names), expected);
    json_array_foreach(names, i, name)
    {
        const struct lq_format *format = lq_format_find(json_string_value(name));
        assert_true(format != NULL && ((format->flags & LQ_FORMAT_TARGET) != 0) == target);
        assert_string_equal(json_string_value(name), format->name);
    }
}

static void test_the_schema_knows_the_types(void **state)
{
    (void)state;
    json_error_t where;
    json_t *schema = json_load_file(LQ_TESTS "/../docs/plan.schema.json", 0, &where);
    assert_non_null(schema);
    check_types(schema, "type", true);
    check_types(schema, "kept", false);
    json_decref(schema);
}

static void test_hostile_depth(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    struct lq_plan *plan = NULL;
    char *text = malloc(DEEP + 1);
    assert_non_null(text);
    memset(text, '[', DEEP);
    text[DEEP] = '\0';
    assert_int_equal(parse(&plan, text, NULL), LQ_ERR_FORMAT);
    free(text);
}

static void test_quantised_input(void **state)
{
    (void)state;
    pair.language[2].type = LQ_TYPE_Q4_0;
    refuse("layered", "layered",
           "plan.json: tensor 'blk.0.attn_q.weight' is already quantised (q4_0), and f16 is asked for: start from "
           "the full-precision model, pass --allow-requantize, or keep it with the type 'copy'");
}

static void test_files_that_are_not_there(void **state)
{
    (void)state;
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    assert_int_equal(lq_plan_load(&plan, "/nowhere/plan.json", &pair.model, &(struct lq_plan_request){0}, &err),
                     LQ_ERR_IO);
    assert_int_equal(strncmp(err.message, "/nowhere/plan.json: ", 20), 0);
    struct lq_plan *built = build("layered");
    assert_int_equal(lq_plan_save(built, "/nowhere/plan.json", &err), LQ_ERR_IO);
    lq_plan_free(built);
    pair.vision[0].name = "v.\xff";
    built = build("layered");
    assert_int_equal(lq_plan_save(built, path, &err), LQ_ERR_UNSUPPORTED);
    lq_plan_free(built);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_saved_plans_come_back),
        TEST(test_text_is_for_people),
        TEST(test_edits_show),
        TEST(test_little_is_needed),
        TEST(test_what_is_wrong_is_named),
        TEST(test_judgements_come_back),
        TEST(test_an_edit_takes_its_judgement),
        TEST(test_wrong_judgements_are_named),
        TEST(test_entries_explain_themselves),
        TEST(test_the_schema_knows_the_types),
        TEST(test_hostile_depth),
        TEST(test_quantised_input),
        TEST(test_files_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
