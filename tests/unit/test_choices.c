/* Which types a tensor may take, and which limits contradict one another. Padding: test_plan_padding.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan/choices.h"
#include "plan/entry.h"
#include "plan_models.h"
#include "plan_stats.h"

#include <stdlib.h>
#include <unistd.h>

static struct pair pair;

static int set_up(void **state)
{
    (void)state;
    pair_init(&pair, LQ_TYPE_F16);
    return 0;
}

static struct lq_choices build(const struct lq_choices_limits *limits)
{
    struct lq_choices choices;
    struct lq_error err = {0};
    if (lq_choices_build(&choices, &pair.model, limits, &err) != LQ_OK) fail_msg("%s", err.message);
    return choices;
}

static const struct lq_choices_item *item_of(const struct lq_choices *choices, const char *name)
{
    for (size_t i = 0; i < choices->n; i++)
        if (strcmp(choices->items[i].tensor->name, name) == 0) return &choices->items[i];
    fail_msg("no %s", name);
    return NULL;
}

/* "q4_k q5_k", smallest first. */
static void check(const struct lq_choices *choices, const char *name, const char *types, const char *reason)
{
    const struct lq_choices_item *item = item_of(choices, name);
    char text[512] = "";
    for (size_t k = 0; k < item->n; k++) {
        strcat(text, k > 0 ? " " : "");
        strcat(text, lq_format_name(item->entries[k].type));
        assert_string_equal(item->entries[k].reason, reason);
    }
    assert_string_equal(text, types);
}

static void refuse(const struct lq_choices_limits *limits, enum lq_status status, const char *message)
{
    struct lq_choices choices = {.n = 77};
    struct lq_error err = {0};
    assert_int_equal(lq_choices_build(&choices, &pair.model, limits, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(choices.n, 77);
    assert_int_equal(lq_choices_build(&choices, &pair.model, limits, NULL), status);
}

static void everything_that_fits(void **state)
{
    (void)state;
    struct lq_choices choices = build(&(struct lq_choices_limits){0});
    assert_int_equal(choices.n, VISION_TENSORS + LANGUAGE_TENSORS);
    check(
        &choices, "blk.0.attn_q.weight",
        "q1_0 tq1_0 iq1_m tq2_0 q2_0 iq2_s q2_k iq3_xxs q3_k iq3_s iq4_xs mxfp4 q4_0 q4_k iq4_nl nvfp4 q4_1 q5_0 q5_k "
        "q5_1 q6_k q8_0 f16",
        "budget");
    check(&choices, "v.blk.0.attn_out.weight", "q1_0 q2_0 mxfp4 q4_0 iq4_nl nvfp4 q4_1 q5_0 q5_1 q8_0 f16",
          "budget, fits 1152 columns");
    check(&choices, "v.blk.1.ffn_down.weight", "f16", "no other type is left, fits 4304 columns");
    check(&choices, "v.class_embd", "f32", "never quantised");
    for (size_t i = 0; i < choices.n; i++)
        for (size_t k = 0; k < choices.items[i].n; k++) {
            const struct lq_plan_entry *e = &choices.items[i].entries[k];
            struct lq_plan_entry again = *e;
            assert_ptr_equal(e->tensor, choices.items[i].tensor);
            assert_int_equal(lq_entry_finish(&again, "", &(struct lq_plan_request){0}, false, NULL), LQ_OK);
            assert_int_equal(again.bytes, e->bytes);
            assert_true(k == 0 || e->bytes >= e[-1].bytes);
        }
    lq_choices_release(&choices);
    assert_null(choices.items);
}

static void limits_narrow(void **state)
{
    (void)state;
    const struct lq_plan_rule most[] = {{"language", "q5_k"}, {"language.attention", "q4_k"}, {"blk.0.attn_k", "f32"}};
    const struct lq_plan_rule pins[] = {{"language.output", "q8_0"}, {"^mm", "F16"}};
    struct lq_choices choices = build(&(struct lq_choices_limits){
        .types = "Q8_0, q4_k,q3_k,f16", .most = most, .n_most = 2, .pins = pins + 1, .n_pins = 1});
    check(&choices, "blk.0.attn_q.weight", "q3_k q4_k", "budget, --max-type 'language.attention'");
    check(&choices, "blk.0.ffn_up.weight", "q3_k q4_k", "budget, --max-type 'language'");
    check(&choices, "v.blk.0.attn_q.weight", "q3_k q4_k q8_0 f16", "budget");
    check(&choices, "v.blk.1.ffn_up.weight", "q8_0 f16", "budget, fits 1152 columns");
    check(&choices, "mm.0.weight", "f16", "--type '^mm'");
    lq_choices_release(&choices);
    choices = build(&(struct lq_choices_limits){.types = "q4_0 q6_k q8_0 f16",
                                                .device = lq_device_find("Vulkan"),
                                                .most = most + 2,
                                                .n_most = 1,
                                                .pins = pins,
                                                .n_pins = 2});
    check(&choices, "blk.0.attn_k.weight", "q4_0 q6_k q8_0 f16", "budget, fast on vulkan, --max-type 'blk.0.attn_k'");
    check(&choices, "v.blk.0.attn_out.weight", "q4_0 q8_0 f16", "budget, fast on vulkan, fits 1152 columns");
    check(&choices, "output.weight", "q8_0", "--type 'language.output'");
    lq_choices_release(&choices);
}

/* Nothing becomes larger than it is; what is quantised stays unless more is allowed. */
static void never_larger(void **state)
{
    (void)state;
    struct lq_choices choices;
    pair_init(&pair, LQ_TYPE_BF16);
    choices = build(&(struct lq_choices_limits){.types = "q8_0,f16,bf16,f32"});
    check(&choices, "mm.0.weight", "q8_0 bf16", "budget");
    lq_choices_release(&choices);
    pair_init(&pair, LQ_TYPE_F32);
    choices = build(&(struct lq_choices_limits){.types = "q8_0,f16,bf16,f32"});
    check(&choices, "mm.0.weight", "q8_0 f16 bf16 f32", "budget");
    lq_choices_release(&choices);
    pair_init(&pair, LQ_TYPE_F16);
    pair.language[2].type = pair.language[2].keep = LQ_TYPE_Q5_K;
    refuse(
        &(struct lq_choices_limits){.types = "q4_k,q5_k,f16,q4_0"}, LQ_ERR_UNSUPPORTED,
        "model.gguf: tensor 'blk.0.attn_q.weight' is already quantised (q5_k), and q4_0 is asked for: start from the "
        "full-precision model, pass --allow-requantize, or keep it with the type 'copy'");
    choices = build(&(struct lq_choices_limits){.types = "q4_k,q5_k,f16,q4_0", .allow_requantize = true});
    check(&choices, "blk.0.attn_q.weight", "q4_0 q4_k q5_k", "budget");
    lq_choices_release(&choices);
}

static void importance_where_it_is(void **state)
{
    (void)state;
    char path[] = "/tmp/lq-imatrix-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct lq_stats *stats = imatrix_for("blk.0.attn_q.weight", path);
    struct lq_choices_limits limits = {.types = "iq2_xxs,iq2_s,q8_0,f16", .stats = stats};
    struct lq_choices choices = build(&limits);
    check(&choices, "blk.0.attn_q.weight", "iq2_xxs iq2_s q8_0 f16", "budget");
    check(&choices, "blk.0.attn_k.weight", "iq2_s q8_0 f16", "budget");
    lq_choices_release(&choices);
    limits.pins = &(struct lq_plan_rule){"blk.0.attn_k", "iq2_xxs"};
    limits.n_pins = 1;
    char message[512];
    snprintf(message, sizeof message,
             "model.gguf: tensor 'blk.0.attn_k.weight': iq2_xxs needs importance data, and %s has none for it: give it "
             "another type with --type 'blk.0.attn_k.weight=q4_k'",
             path);
    refuse(&limits, LQ_ERR_UNSUPPORTED, message);
    lq_stats_free(stats);
    unlink(path);
}

static void refuse_rules(const char *types, const char *device, const struct lq_plan_rule *most,
                         const struct lq_plan_rule *pin, const char *message)
{
    refuse(&(struct lq_choices_limits){.types = types,
                                       .device = device != NULL ? lq_device_find(device) : NULL,
                                       .most = most,
                                       .n_most = most != NULL,
                                       .pins = pin,
                                       .n_pins = pin != NULL},
           LQ_ERR_USAGE, message);
}

#define RULE(pattern, type) (&(const struct lq_plan_rule){pattern, type})

static void contradictions_are_named(void **state)
{
    (void)state;
    refuse_rules("q4_k,q4_z", NULL, NULL, NULL,
                 "--types 'q4_k,q4_z': 'q4_z' is no ggml type such as q8_0, q4_k or f16");
    refuse_rules("q8_k", NULL, NULL, NULL, "--types 'q8_k': 'q8_k' is no ggml type such as q8_0, q4_k or f16");
    refuse_rules("", NULL, NULL, NULL, "--types '' names no type");
    refuse_rules(" ,", NULL, NULL, NULL, "--types ' ,' names no type");
    refuse_rules("q2_0,iq3_s", "cpu", NULL, NULL, "--only-fast-on cpu: it decodes none of --types 'q2_0,iq3_s' fast");
    refuse_rules("q4_k,f16", NULL, NULL, RULE("language.output", "q8_0"),
                 "--type 'language.output=q8_0': q8_0 is not among --types 'q4_k,f16'");
    refuse_rules(NULL, "cuda", NULL, RULE("blk.0.attn_q", "tq2_0"),
                 "--type 'blk.0.attn_q=tq2_0': --only-fast-on cuda: it does not decode tq2_0 fast");
    refuse_rules(NULL, NULL, RULE("language", "q5_k"), RULE("language.attention.v", "q6_k"),
                 "tensor 'blk.0.attn_v.weight': --type 'language.attention.v=q6_k' is more than --max-type "
                 "'language=q5_k'");
    refuse_rules("q4_k,q5_k", NULL, NULL, NULL,
                 "mmproj.gguf: tensor 'v.blk.0.attn_out.weight': no type that --types 'q4_k,q5_k' leaves fits its 1152 "
                 "columns and is smaller than f16: allow one with smaller blocks, such as q8_0, or f16");
    refuse_rules(NULL, "vulkan", RULE("vision.attention", "tq2_0"), NULL,
                 "mmproj.gguf: tensor 'v.blk.0.attn_q.weight': no type that --only-fast-on vulkan --max-type "
                 "'vision.attention=tq2_0' leaves fits its 512 columns and is smaller than f16: allow one with smaller "
                 "blocks, such as q8_0, or f16");
    refuse_rules(NULL, NULL, RULE("language.atention", "q5_k"), NULL,
                 "--max-type 'language.atention': no tensor has such a name or role");
    refuse_rules(NULL, NULL, RULE("norm", "q5_k"), NULL,
                 "--max-type 'norm': tensor 'output_norm.weight' (norm) is never quantised");
    refuse_rules(NULL, NULL, RULE("language", "q9"), NULL,
                 "--max-type 'language=q9': 'q9' is no ggml type such as q8_0, q4_k or f16");
    refuse_rules(NULL, NULL, RULE("blk.(0", "q4_k"), NULL,
                 "--max-type 'blk.(0': not a valid regular expression (Unmatched ( or \\()");
    refuse_rules(NULL, NULL, RULE("", "q4_k"), NULL, "--max-type '=q4_k': the pattern is empty");
    refuse_rules(NULL, NULL, NULL, RULE("v.blk.0.attn_out", "q4_k"),
                 "mmproj.gguf: tensor 'v.blk.0.attn_out.weight': 1152 columns do not divide into q4_k blocks of 256");
}

/* Every device has a float for rows that fit no block, and something small for others. */
static void devices_leave_a_choice(void **state)
{
    (void)state;
    size_t n = 0;
    for (const struct lq_device *device; (device = lq_device_at(n)) != NULL; n++) {
        assert_ptr_equal(lq_device_find(device->name), device);
        for (int type = 0; type < 64; type++) {
            const struct lq_format *format = lq_format_get(type);
            if ((device->types >> type & 1) != 0)
                assert_true(format != NULL && (format->flags & LQ_FORMAT_TARGET) != 0);
        }
        struct lq_choices choices = build(&(struct lq_choices_limits){.device = device});
        for (size_t i = 0; i < choices.n; i++)
            assert_true(choices.items[i].n > 8 || !choices.items[i].tensor->quantisable ||
                        choices.items[i].tensor->ne[0] == 4304 || choices.items[i].tensor->ne[0] == 1152);
        lq_choices_release(&choices);
    }
    assert_int_equal(n, 4);
    assert_null(lq_device_find("abacus"));
}

/* The table of docs/recipes.md, line by line. */
static void the_page_says_the_same(void **state)
{
    (void)state;
    static char page[1 << 16];
    FILE *f = fopen(LQ_TESTS "/../docs/recipes.md", "r");
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *format = lq_format_get(type);
        char line[128];
        if (format == NULL || (format->flags & LQ_FORMAT_TARGET) == 0) continue;
        int n = snprintf(line, sizeof line, "\n| `%s` |", format->name);
        for (size_t i = 0; lq_device_at(i) != NULL; i++)
            n += snprintf(line + n, sizeof line - (size_t)n, " %s |", lq_device_at(i)->types >> type & 1 ? "yes" : "-");
        if (strstr(page, line) == NULL) fail_msg("no line %s", line + 1);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_that_fits),
        TEST(limits_narrow),
        TEST(never_larger),
        TEST(importance_where_it_is),
        TEST(contradictions_are_named),
        TEST(devices_leave_a_choice),
        TEST(the_page_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
