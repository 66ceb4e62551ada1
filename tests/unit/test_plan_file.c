/* Plan files: what is saved comes back, what is edited shows, what is wrong is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/plan_file.h"
#include "plan_models.h"

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
        TEST(test_saved_plans_come_back), TEST(test_text_is_for_people),       TEST(test_edits_show),
        TEST(test_little_is_needed),      TEST(test_what_is_wrong_is_named),   TEST(test_hostile_depth),
        TEST(test_quantised_input),       TEST(test_files_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
