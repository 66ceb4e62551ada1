/* Plans: what each kind of wish gives to each role, and every wish that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_models.h"
#include "plan_stats.h"

#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static struct pair pair;

static int make_f16(void **state)
{
    (void)state;
    pair_init(&pair, LQ_TYPE_F16);
    return 0;
}

static struct lq_plan *build(const struct lq_plan_request *request)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    if (lq_plan_build(&plan, &pair.model, request, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_int_equal(plan->n_entries, VISION_TENSORS + LANGUAGE_TENSORS);
    return plan;
}

static struct lq_plan *build_spec(const char *spec)
{
    return build(&(struct lq_plan_request){.spec = spec});
}

/* The whole request fails with exactly this message and leaves nothing. */
static void refuse(const struct lq_plan_request *request, enum lq_status status, const char *message)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    assert_int_equal(lq_plan_build(&plan, &pair.model, request, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, status);
    assert_null(plan);
}

static const struct lq_plan_entry *entry_of(const struct lq_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_entries; i++)
        if (strcmp(plan->entries[i].tensor->name, name) == 0) return &plan->entries[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void check(const struct lq_plan *plan, const char *name, const char *type, const char *reason)
{
    const struct lq_plan_entry *e = entry_of(plan, name);
    if (strcmp(lq_format_name(e->type), type) != 0 || strcmp(e->reason, reason) != 0)
        fail_msg("%s is %s (%s), not %s (%s)", name, lq_format_name(e->type), e->reason, type, reason);
    assert_int_equal(e->bytes, e->tensor->rows * lq_format_row_bytes(e->type, e->tensor->ne[0]));
}

static void check_summary(const char *spec, const char *expected)
{
    char text[1200];
    struct lq_plan *plan = build_spec(spec);
    assert_int_equal(lq_plan_summary(plan, text, sizeof text), strlen(expected));
    assert_string_equal(text, expected);
    lq_plan_free(plan);
}

static void test_layered_is_the_default(void **state)
{
    (void)state;
    struct lq_plan *plan = build(&(struct lq_plan_request){0});
    check(plan, "v.blk.0.ffn_up.weight", "q4_k", "layered");
    check(plan, "v.blk.0.ffn_down.weight", "q4_k", "layered");
    check(plan, "v.blk.0.attn_q.weight", "q8_0", "layered");
    check(plan, "mm.0.weight", "q8_0", "layered");
    check(plan, "blk.0.ffn_gate.weight", "q8_0", "layered");
    check(plan, "blk.0.attn_q.weight", "f16", "layered");
    check(plan, "token_embd.weight", "q8_0", "layered");
    check(plan, "output.weight", "q8_0", "layered");
    check(plan, "blk.0.extra.weight", "q8_0", "layered");
    check(plan, "blk.0.attn_norm.weight", "f32", "never quantised");
    check(plan, "v.patch_embd.weight", "f32", "never quantised");
    check(plan, "v.position_embd.weight", "f32", "never quantised");
    check(plan, "v.class_embd", "f32", "never quantised");
    assert_string_equal(plan->recipe, "layered");
    assert_string_equal(plan->tag, "layered");
    assert_string_equal(plan->note, "");
    assert_int_equal(plan->file_type[LQ_LANGUAGE], 7);
    lq_plan_free(plan);
}

static void test_bits_keep_the_order_of_care(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        static const char *const bits[] = {"2", "3", "4", "5", "6", "8"};
        struct lq_plan *plan = build_spec(bits[i]);
        double up = 0, query = 0;
        for (size_t j = 0; j < plan->n_entries; j++) {
            const struct lq_format *f = lq_format_get(plan->entries[j].type);
            if (plan->entries[j].tensor->role == LQ_ROLE_LANGUAGE_FFN_UP) up = f->bytes * 8.0 / f->block;
            if (plan->entries[j].tensor->role == LQ_ROLE_LANGUAGE_ATTENTION_Q) query = f->bytes * 8.0 / f->block;
        }
        assert_true(up >= bits[i][0] - '0' && up < bits[i][0] - '0' + 1 && query >= up);
        lq_plan_free(plan);
    }
    struct lq_plan *plan = build_spec("4");
    check(plan, "blk.0.attn_v.weight", "q6_k", "4 bits");
    assert_string_equal(plan->recipe, "4 bits");
    assert_string_equal(plan->tag, "4bit");
    lq_plan_free(plan);
    check_summary(
        "8", "vision.ffn.up=q8_0 vision.ffn.down=f16*1/q8_0*1 vision.attention=q8_0 projector=q8_0 language.ffn=q8_0 "
             "language.attention=q8_0 language.embedding=q8_0 language.output=q8_0 language.other=q8_0");
}

static void test_shared_embedding_is_an_output(void **state)
{
    (void)state;
    struct lq_plan *plan = build_spec("4");
    check(plan, "token_embd.weight", "q5_k", "4 bits");
    lq_plan_free(plan);
    pair.language[LANGUAGE_TENSORS - 1].role = LQ_ROLE_LANGUAGE_OTHER;
    plan = build_spec("4");
    check(plan, "token_embd.weight", "q6_k", "4 bits");
    lq_plan_free(plan);
}

static void test_other_tools_numbers_are_noted(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *note;
    } cases[] = {
        {"2", "2 means 2 bits here; the type number 2 of llama-quantize and of llamafile's llava-quantize is Q4_0"},
        {"3", "3 means 3 bits here; the type number 3 of llama-quantize and of llamafile's llava-quantize is Q4_1"},
        {"4", ""},
        {"5", ""},
        {"6", "6 means 6 bits here; the type number 6 of llamafile's llava-quantize is Q5_0"},
        {"8", "8 means 8 bits here; the type number 8 of llama-quantize is Q5_0"},
        {"q8_0", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lq_plan *plan = build_spec(cases[i].spec);
        assert_string_equal(plan->note, cases[i].note);
        lq_plan_free(plan);
    }
    refuse(&(struct lq_plan_request){.spec = "7"}, LQ_ERR_USAGE,
           "a number means bits: '7' is none of 2, 3, 4, 5, 6, 8");
    refuse(&(struct lq_plan_request){.spec = "15"}, LQ_ERR_USAGE,
           "a number means bits: '15' is none of 2, 3, 4, 5, 6, 8");
}

static void test_rows_that_do_not_fit_fall_back(void **state)
{
    (void)state;
    struct lq_plan *plan = build_spec("Q4_k"); /* a ggml type, no file type: every matrix */
    check(plan, "v.blk.0.ffn_up.weight", "q4_k", "q4_k");
    check(plan, "v.blk.1.ffn_up.weight", "iq4_nl", "1152 columns do not fit q4_k: iq4_nl");
    check(plan, "v.blk.1.ffn_down.weight", "f16", "4304 columns do not fit q4_k: f16");
    check(plan, "blk.0.attn_norm.weight", "f32", "never quantised");
    assert_string_equal(plan->recipe, "q4_k");
    assert_string_equal(plan->tag, "Q4_K");
    assert_int_equal(plan->file_type[LQ_LANGUAGE], 15);
    assert_int_equal(plan->file_type[LQ_VISION], 25);
    lq_plan_free(plan);
    static const struct {
        const char *spec, *type, *reason;
    } cases[] = {
        {"q3_k", "iq4_nl", "1152 columns do not fit q3_k: iq4_nl"},
        {"q5_k", "q5_0", "1152 columns do not fit q5_k: q5_0"},
        {"nvfp4", "nvfp4", "nvfp4"},
        {"6", "q8_0", "1152 columns do not fit q6_k: q8_0"},
        {"2", "iq4_nl", "1152 columns do not fit q2_k: iq4_nl"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        plan = build_spec(cases[i].spec);
        check(plan, "v.blk.1.ffn_up.weight", cases[i].type, cases[i].reason);
        lq_plan_free(plan);
    }
}

static void test_mixes(void **state)
{
    (void)state;
    struct lq_plan *plan = build_spec("q4_k_m");
    check(plan, "output.weight", "q6_k", "llama-quantize's Q4_K_M");
    check(plan, "token_embd.weight", "q4_k", "llama-quantize's Q4_K_M");
    check(plan, "v.blk.1.ffn_up.weight", "iq4_nl", "1152 columns do not fit q4_k: iq4_nl");
    check(plan, "v.blk.1.ffn_down.weight", "f16", "4304 columns do not fit q6_k: f16");
    assert_string_equal(plan->recipe, "Q4_K_M");
    assert_int_equal(plan->file_type[LQ_LANGUAGE], 15);
    assert_int_equal(plan->file_type[LQ_VISION], 15);
    lq_plan_free(plan);
    plan = build(&(struct lq_plan_request){.spec = "q4_k_m", .no_padding = true});
    check(plan, "v.blk.1.ffn_up.weight", "q5_0", "1152 columns do not fit q4_k: q5_0");
    lq_plan_free(plan);
    refuse(&(struct lq_plan_request){.spec = "q1_0"}, LQ_ERR_UNSUPPORTED,
           "mmproj.gguf: tensor 'v.blk.1.ffn_down.weight': 4304 columns do not divide into q1_0 blocks of 128, and "
           "Q1_0 names no "
           "other type");
}

static void test_halves_may_differ(void **state)
{
    (void)state;
    struct lq_plan *plan = build(&(struct lq_plan_request){.spec = "q8_0", .vision = "f16"});
    check(plan, "mm.0.weight", "f16", "f16");
    check(plan, "blk.0.attn_q.weight", "q8_0", "llama-quantize's Q8_0");
    assert_string_equal(plan->recipe, "vision f16, language Q8_0");
    assert_string_equal(plan->tag, "mixed");
    assert_int_equal(plan->file_type[LQ_VISION], 1);
    lq_plan_free(plan);
    plan = build(&(struct lq_plan_request){.spec = "copy", .vision = "Q8_0"});
    check(plan, "blk.0.attn_q.weight", "f16", "copy");
    assert_string_equal(plan->tag, "Q8_0");
    lq_plan_free(plan);
    pair.model.half[LQ_VISION] = NULL;
    refuse(&(struct lq_plan_request){.vision = "q8_0"}, LQ_ERR_USAGE,
           "pair: --vision q8_0: the model has no vision half");
}

static void test_rules(void **state)
{
    (void)state;
    const struct lq_plan_rule rules[] = {
        {"vision.attention", "Q5_K"},     {"v.blk.0.attn_v", "q6_k"}, {"ffn_(UP|gate)", "q5_0"},
        {"language.attention.q", "q8_0"}, {"projector", "f32"},       {"V.BLK.0.ATTN_OUT", "q5_1"},
    };
    struct lq_plan *plan = build(&(struct lq_plan_request){.rules = rules, .n_rules = 6});
    check(plan, "v.blk.0.attn_q.weight", "q5_k", "--type 'vision.attention'");
    check(plan, "v.blk.0.attn_v.weight", "q6_k", "--type 'v.blk.0.attn_v'");
    check(plan, "v.blk.0.attn_out.weight", "q5_1", "--type 'V.BLK.0.ATTN_OUT'");
    check(plan, "v.blk.1.ffn_up.weight", "q5_0", "--type 'ffn_(UP|gate)'");
    check(plan, "blk.0.ffn_gate.weight", "q5_0", "--type 'ffn_(UP|gate)'");
    check(plan, "blk.0.ffn_down.weight", "q8_0", "layered");
    check(plan, "blk.0.attn_q.weight", "q8_0", "--type 'language.attention.q'");
    check(plan, "blk.0.attn_k.weight", "f16", "layered");
    check(plan, "mm.0.weight", "f32", "--type 'projector'");
    assert_string_equal(plan->recipe, "layered, 6 --type rules");
    lq_plan_free(plan);
    /* A pattern that also finds biases leaves them alone. */
    plan = build(&(struct lq_plan_request){.rules = &(struct lq_plan_rule){"attn_q", "q4_0"}, .n_rules = 1});
    check(plan, "v.blk.0.attn_q.bias", "f32", "never quantised");
    check(plan, "v.blk.0.attn_q.weight", "q4_0", "--type 'attn_q'");
    lq_plan_free(plan);
}

static void refuse_rule(const char *pattern, const char *type, const char *message)
{
    const struct lq_plan_rule rule = {pattern, type};
    refuse(&(struct lq_plan_request){.rules = &rule, .n_rules = 1}, LQ_ERR_USAGE, message);
}

static void test_rules_that_cannot_be(void **state)
{
    (void)state;
    refuse_rule("ffn_sideways", "q8_0", "--type 'ffn_sideways': no tensor has such a name or role");
    refuse_rule("vision.ffn", "q4_k",
                "mmproj.gguf: tensor 'v.blk.1.ffn_up.weight': 1152 columns do not divide into q4_k blocks of 256");
    refuse_rule("(", "q8_0", "--type '(': not a valid regular expression (Unmatched ( or \\()");
    refuse_rule("ffn", "q9", "--type 'ffn=q9': 'q9' is no ggml type such as q8_0, q4_k or f16");
    refuse_rule("ffn", "q8_k", "--type 'ffn=q8_k': 'q8_k' is no ggml type such as q8_0, q4_k or f16");
    refuse_rule("ffn", "Q4_K_M", "--type 'ffn=Q4_K_M': 'Q4_K_M' is no ggml type such as q8_0, q4_k or f16");
    refuse_rule("", "q8_0", "--type '=q8_0': the pattern is empty");
    refuse_rule("norm", "q8_0", "--type 'norm': tensor 'output_norm.weight' (norm) is never quantised");
    refuse_rule("position_embd", "q8_0",
                "--type 'position_embd': tensor 'v.position_embd.weight' (position_embedding) is never quantised");
}

static void test_unknown_names_list_what_would_do(void **state)
{
    struct lq_error err = {0};
    struct lq_plan *plan = NULL;
    (void)state;
    assert_int_equal(lq_plan_build(&plan, &pair.model, &(struct lq_plan_request){.spec = "Q4_K_XL"}, &err),
                     LQ_ERR_USAGE);
    assert_non_null(
        strstr(err.message, "'Q4_K_XL' is no recipe, number of bits, file type or ggml type: one of layered, 2, 3"));
    for (size_t i = 0; lq_recipe_at(i) != NULL; i++) assert_non_null(strstr(err.message, lq_recipe_at(i)->name));
    assert_int_equal(lq_plan_build(&plan, &pair.model, &(struct lq_plan_request){.spec = ""}, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_plan_build(&plan, &pair.model, &(struct lq_plan_request){.spec = "q8_1"}, &err), LQ_ERR_USAGE);
    assert_null(plan);
}

/* Names for help texts are all understood; each file type and each plain type has one. */
static void test_listed_names_work(void **state)
{
    struct lq_error err = {0};
    size_t n = 0;
    (void)state;
    for (; lq_recipe_at(n) != NULL; n++) {
        struct lq_plan *plan = NULL;
        enum lq_status status =
            lq_plan_build(&plan, &pair.model, &(struct lq_plan_request){.spec = lq_recipe_at(n)->name}, &err);
        assert_true(status == LQ_OK || status == LQ_ERR_UNSUPPORTED); /* needs importance data, or fits no row */
        assert_true(strlen(lq_recipe_at(n)->what) > 5);
        lq_plan_free(plan);
    }
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        bool listed = false;
        for (size_t i = 0; i < n && f != NULL; i++) listed |= strcasecmp(lq_recipe_at(i)->name, f->name) == 0;
        assert_int_equal(listed, f != NULL && (f->flags & LQ_FORMAT_TARGET) != 0);
    }
}

static void test_importance_is_demanded(void **state)
{
    (void)state;
    refuse(&(struct lq_plan_request){.language = "IQ2_XXS", .vision = "q4_0"}, LQ_ERR_UNSUPPORTED,
           "model.gguf: tensor 'blk.0.attn_q.weight': iq2_xxs needs importance data: run llama-imatrix on the "
           "full-precision "
           "language model and pass its file with --imatrix FILE");
    refuse(&(struct lq_plan_request){.vision = "iq2_s"}, LQ_ERR_UNSUPPORTED,
           "mmproj.gguf: tensor 'v.blk.0.attn_q.weight': iq2_xs needs importance data; llama-imatrix gathers it for "
           "the language "
           "model only: give the vision half another type, such as --vision q4_k");
    refuse(
        &(struct lq_plan_request){.language = "Q2_K_S"}, LQ_ERR_UNSUPPORTED,
        "model.gguf: tensor 'blk.0.attn_q.weight': q2_k needs importance data: run llama-imatrix on the full-precision "
        "language model and pass its file with --imatrix FILE");
    const struct lq_plan_rule rule = {"^blk.0.ffn_down", "iq1_s"};
    refuse(&(struct lq_plan_request){.rules = &rule, .n_rules = 1}, LQ_ERR_UNSUPPORTED,
           "model.gguf: tensor 'blk.0.ffn_down.weight': iq1_s needs importance data: run llama-imatrix on the "
           "full-precision "
           "language model and pass its file with --imatrix FILE");
}

static void test_importance_may_cover_a_part(void **state)
{
    (void)state;
    char path[] = "/tmp/lq-imatrix-XXXXXX", message[512];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct lq_stats *stats = imatrix_for("blk.0.attn_q.weight", path);
    snprintf(message, sizeof message,
             "model.gguf: tensor 'blk.0.attn_k.weight': iq2_xxs needs importance data, and %s has none for "
             "it: give it another type with --type 'blk.0.attn_k.weight=q4_k'",
             path);
    refuse(&(struct lq_plan_request){.language = "iq2_xxs", .vision = "q4_0", .stats = stats}, LQ_ERR_UNSUPPORTED,
           message);
    const struct lq_plan_rule rule = {"^blk.0.attn_q", "iq2_xs"};
    struct lq_plan *plan = build(&(struct lq_plan_request){.rules = &rule, .n_rules = 1, .stats = stats});
    check(plan, "blk.0.attn_q.weight", "iq2_xs", "--type '^blk.0.attn_q'");
    lq_plan_free(plan);
    lq_stats_free(stats);
    unlink(path);
}

/* Flags of the format table against ggml itself. */
static void test_ggml_demands_the_same(void **state)
{
    (void)state;
    for (int type = 0; type < LQ_TYPE_COUNT; type++) {
        const struct lq_format *f = lq_format_get(type);
        if (f == NULL || (f->flags & LQ_FORMAT_TARGET) == 0) continue;
        assert_int_equal((f->flags & LQ_FORMAT_NEEDS_IMPORTANCE) != 0,
                         ggml_quantize_requires_imatrix((enum ggml_type)type));
    }
}

static void test_nothing_grows_by_a_recipe(void **state)
{
    (void)state;
    pair.language[2].type = pair.language[2].keep = LQ_TYPE_Q4_0;
    refuse(&(struct lq_plan_request){0}, LQ_ERR_UNSUPPORTED,
           "model.gguf: tensor 'blk.0.attn_q.weight' is already quantised (q4_0), and f16 is asked for: start from the "
           "full-precision "
           "model, pass --allow-requantize, or keep it with the type 'copy'");
    struct lq_plan *plan = build(&(struct lq_plan_request){.allow_requantize = true});
    check(plan, "blk.0.attn_q.weight", "q4_0", "q4_0 is already smaller than f16");
    lq_plan_free(plan);
    plan =
        build(&(struct lq_plan_request){.spec = "q4_0", .vision = "f32"}); /* the same type is a copy, f32 is obeyed */
    check(plan, "blk.0.attn_q.weight", "q4_0", "llama-quantize's Q4_0");
    check(plan, "mm.0.weight", "f32", "f32");
    lq_plan_free(plan);
    plan = build(&(struct lq_plan_request){.spec = "copy"});
    check(plan, "blk.0.attn_q.weight", "q4_0", "copy");
    lq_plan_free(plan);
}

static void test_widening(void **state)
{
    (void)state;
    struct lq_plan *plan = build_spec("q4_k");
    static const char *const by_256[] = {"q5_k", "q6_k", "q8_0", "f16", "f32"}, *const by_32[] = {"q5_0", "q8_0", "f16",
                                                                                                  "f32"};
    size_t wide = 7, narrow = 9; /* v.blk.0.ffn_up and v.blk.1.ffn_up */
    for (size_t i = 0; i < 5; i++) {
        assert_true(lq_plan_widen(plan, wide, "scale overflow"));
        check(plan, "v.blk.0.ffn_up.weight", by_256[i], "scale overflow");
    }
    for (size_t i = 0; i < 4; i++) {
        assert_true(lq_plan_widen(plan, narrow, "scale overflow"));
        check(plan, "v.blk.1.ffn_up.weight", by_32[i], "scale overflow");
    }
    assert_false(lq_plan_widen(plan, narrow, "no more"));
    check(plan, "v.blk.1.ffn_up.weight", "f32", "scale overflow");
    lq_plan_free(plan);
}

static void test_summary_fits(void **state)
{
    char text[1200], small[40];
    (void)state;
    struct lq_plan *plan = build_spec("layered");
    size_t n = lq_plan_summary(plan, text, sizeof text);
    assert_string_equal(
        text, "vision.ffn.up=q4_k*1/iq4_nl*1 vision.ffn.down=f16*1/q4_k*1 vision.attention=q8_0 projector=q8_0 "
              "language.ffn=q8_0 language.attention=f16 language.embedding=q8_0 language.output=q8_0 "
              "language.other=q8_0");
    assert_int_equal(n, strlen(text));
    for (size_t size = 0; size <= sizeof small; size++) {
        memset(small, '#', sizeof small);
        n = lq_plan_summary(plan, small, size);
        assert_true(size == 0 ? n == 0 && small[0] == '#' : n < size && small[n] == '\0' && n == strlen(small));
        if (size < sizeof small) assert_int_equal(small[size], '#');
    }
    assert_string_equal(small, "vision.ffn.up=q4_k*1/iq4_nl*1 ...");
    lq_plan_free(plan);
}

#define TEST(name) cmocka_unit_test_setup(name, make_f16)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_layered_is_the_default),
        TEST(test_bits_keep_the_order_of_care),
        TEST(test_shared_embedding_is_an_output),
        TEST(test_other_tools_numbers_are_noted),
        TEST(test_rows_that_do_not_fit_fall_back),
        TEST(test_mixes),
        TEST(test_halves_may_differ),
        TEST(test_rules),
        TEST(test_rules_that_cannot_be),
        TEST(test_unknown_names_list_what_would_do),
        TEST(test_listed_names_work),
        TEST(test_importance_is_demanded),
        TEST(test_importance_may_cover_a_part),
        TEST(test_ggml_demands_the_same),
        TEST(test_nothing_grows_by_a_recipe),
        TEST(test_widening),
        TEST(test_summary_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
