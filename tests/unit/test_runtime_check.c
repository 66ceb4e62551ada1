/* Files that must not reach llama.cpp or a picture decoder: each is refused with a message that says what is wrong. */
#include "llava_quantize.h"
#include "runtime/picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "demo_pair.h"

static struct demo_pair pair;

static int set_up(void **state)
{
    (void)state;
    demo_pair_make(&pair, "f16", NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    demo_pair_remove(&pair);
    return 0;
}

static char *load(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

static void save(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Opens the pair; the message must be "FILE: rest" for the file at fault. */
static void refuse(const char *language, const char *mmproj, const char *at_fault, enum lq_status status,
                   const char *rest)
{
    struct lq_error err = {0};
    struct lq_runtime *rt = NULL;
    char message[1024];
    const struct lq_runtime_options options = {.language = language, .mmproj = mmproj, .threads = 1};
    snprintf(message, sizeof message, "%s: %s", at_fault, rest);
    assert_int_equal(lq_runtime_open(&rt, &options, &err), status);
    assert_string_equal(err.message, message);
    assert_null(rt);
}

/* Replaces the bytes behind the first place that holds `text` by `value`. */
struct edit {
    enum lq_half half;
    const char *text;
    size_t skip;
    const char *value;
    size_t n;
    enum lq_status status;
    const char *message;
};

/* The edited file stands at `path`. */
static void make_edit(const struct edit *e, char path[128])
{
    size_t n = 0;
    char *bytes = load(pair.path[e->half], &n);
    char *at = memmem(bytes, n, e->text, strlen(e->text));
    assert_non_null(at);
    memcpy(at + strlen(e->text) + e->skip, e->value, e->n);
    snprintf(path, 128, "%s/edited.gguf", pair.folder);
    save(path, bytes, n);
    free(bytes);
}

static void check_edit(const struct edit *e)
{
    char path[128];
    bool vision = e->half == LQ_VISION;
    make_edit(e, path);
    refuse(vision ? pair.path[LQ_LANGUAGE] : path, vision ? path : pair.path[LQ_VISION], path, e->status, e->message);
    unlink(path);
}

/* A u32 value stands 4 bytes (its type) behind the key. */
#define U32(half, key, value, message) \
    { \
        half, key, 4, value, 4, LQ_ERR_FORMAT, message \
    }

static void test_metadata_that_llama_cpp_would_die_of(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        U32(LQ_LANGUAGE, "llama.block_count", "\x00\x00\x00\x00", "key 'llama.block_count' is 0, expected 1 to 512"),
        U32(LQ_LANGUAGE, "llama.block_count", "\x01\x02\x00\x00", "key 'llama.block_count' is 513, expected 1 to 512"),
        U32(LQ_LANGUAGE, "llama.attention.head_count", "\x00\x00\x00\x00",
            "key 'llama.attention.head_count' is 0, expected 1 to 256"),
        U32(LQ_LANGUAGE, "llama.attention.head_count", "\x03\x00\x00\x00",
            "key 'llama.attention.head_count_kv' is 4, which does not divide 3 heads"),
        U32(LQ_LANGUAGE, "llama.attention.head_count_kv", "\x03\x00\x00\x00",
            "key 'llama.attention.head_count_kv' is 3, which does not divide 4 heads"),
        U32(LQ_LANGUAGE, "llama.rope.dimension_count", "\x20\x00\x00\x00",
            "key 'llama.rope.dimension_count' is 32, but a head is 64 wide"),
        {LQ_LANGUAGE, "<0x41", 0, "X", 1, LQ_ERR_FORMAT, "the tokenizer has no token '<0x41>'"},
        {LQ_LANGUAGE, "<0x4", 0, "2", 1, LQ_ERR_FORMAT, "the tokenizer holds the token '<0x42>' twice"},
        U32(LQ_VISION, "clip.vision.patch_size", "\x00\x00\x00\x00",
            "key 'clip.vision.patch_size' is 0, expected 1 to 16384"),
        U32(LQ_VISION, "clip.vision.patch_size", "\x07\x00\x00\x00",
            "patches of 7 pixels do not divide a picture of 64"),
        U32(LQ_VISION, "clip.vision.image_size", "\x80\x00\x00\x00",
            "tensor 'v.position_embd.weight' is 256 x 65 x 1 x 1, expected 256 x 257 x 1 x 1"),
        U32(LQ_VISION, "clip.vision.attention.head_count", "\x03\x00\x00\x00", "3 heads do not divide the width 256"),
        U32(LQ_VISION, "clip.vision.block_count", "\x05\x00\x00\x00", "tensor 'v.blk.4.ffn_down.weight' is missing"),
        U32(LQ_VISION, "clip.vision.embedding_length", "\x00\x02\x00\x00",
            "tensor 'v.patch_embd.weight' is 8 x 8 x 3 x 256, expected 8 x 8 x 3 x 512"),
        {LQ_VISION, "clip.vision.feature_layer", 16, "\x05", 1, LQ_ERR_FORMAT,
         "key 'clip.vision.feature_layer' holds 5, expected rising numbers from 0 to 4"},
        {LQ_VISION, "clip.has_vision_encoder", 4, "\x00", 1, LQ_ERR_FORMAT,
         "key 'clip.has_vision_encoder' is missing or false"},
        {LQ_VISION, "clip.vision.projection_dim", 0, "\x05", 1, LQ_ERR_FORMAT,
         "key 'clip.vision.projection_dim' is not a u32"},
        {LQ_VISION, "clip.use_gelu", 0, "\x01", 1, LQ_ERR_FORMAT, "key 'clip.use_gelu' is not a bool"},
        {LQ_VISION, "clip.vision.attention.layer_norm_epsilon", 4, "\0\0\x80\xbf", 4, LQ_ERR_FORMAT,
         "key 'clip.vision.attention.layer_norm_epsilon' is -1, expected a small number above 0"},
        {LQ_LANGUAGE, "llama.attention.layer_norm_rms_epsilon", 4, "\0\0\xc0\x7f", 4, LQ_ERR_FORMAT,
         "key 'llama.attention.layer_norm_rms_epsilon' is nan, expected a small number above 0"},
        {LQ_VISION, "mm.2", 0, "X", 1, LQ_ERR_FORMAT, "tensor 'mm.2.weight' is missing"},
        {LQ_VISION, "v.blk.0.attn_", 0, "Q", 1, LQ_ERR_FORMAT, "tensor 'v.blk.0.attn_q.weight' is missing"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) check_edit(&edits[i]);
}

/* What llama.cpp refuses by itself arrives with its own reason. */
static void test_llama_cpps_own_reason(void **state)
{
    (void)state;
    static const struct edit edit = {LQ_LANGUAGE,
                                     "blk.0.ffn_gat",
                                     0,
                                     "E",
                                     1,
                                     LQ_ERR_RUNTIME,
                                     "llama.cpp cannot load the model: llama_model_load: error loading model: "
                                     "check_tensor_dims: tensor 'blk.0.ffn_gate.weight' not found"};
    check_edit(&edit);
}

static void test_wrong_files(void **state)
{
    (void)state;
    const char *language = pair.path[LQ_LANGUAGE], *mmproj = pair.path[LQ_VISION],
               *weights = LQ_DEMO "/model/model.safetensors";
    struct lq_error err = {0};
    struct lq_runtime *rt = NULL;
    refuse(mmproj, language, mmproj, LQ_ERR_USAGE, "holds an mmproj file, but a language file is expected");
    refuse(language, language, language, LQ_ERR_USAGE, "holds a language file, but an mmproj file is expected");
    refuse(weights, mmproj, weights, LQ_ERR_USAGE,
           "not a GGUF file, but a language file is expected; `convert` makes one");
    refuse(language, "/missing/mmproj.gguf", "/missing/mmproj.gguf", LQ_ERR_IO,
           "cannot open: No such file or directory");
    assert_int_equal(lq_runtime_open(&rt, &(struct lq_runtime_options){.language = language}, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "asking takes both halves of a pair: the mmproj file is missing");
}

static void test_halves_of_different_width(void **state)
{
    (void)state;
    static const struct edit wide =
        U32(LQ_LANGUAGE, "llama.embedding_length", "\x00\x02\x00\x00",
            "its pictures are 256 wide, the language file's tokens 512: the two files are no pair");
    char path[128];
    make_edit(&wide, path);
    refuse(path, pair.path[LQ_VISION], pair.path[LQ_VISION], LQ_ERR_USAGE, wide.message);
    unlink(path);
}

/* The demo's language half in shards, as the pair's own in one file. */
static void split_language(struct lq_quantize_result *result, const char *folder)
{
    struct lq_error err = {0};
    struct lq_model *model = NULL;
    struct lq_plan *plan = NULL;
    const struct lq_model_options only = {.only = LQ_LANGUAGE};
    const struct lq_plan_request request = {.spec = "copy"};
    const struct lq_quantize_options options = {.output = folder, .split_size = 3000000};
    assert_int_equal(lq_model_open(&model, pair.path[LQ_LANGUAGE], &only, &err), LQ_OK);
    assert_int_equal(lq_plan_build(&plan, model, &request, &err), LQ_OK);
    if (lq_quantize(model, plan, &options, result, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_plan_free(plan);
    lq_model_free(model);
}

/* llama.cpp opens the other shards by itself: all of them are looked at before. */
static void test_shards(void **state)
{
    (void)state;
    const char *mmproj = pair.path[LQ_VISION];
    char folder[] = "/tmp/llava-quantize-test-XXXXXX", message[256];
    struct lq_quantize_result split;
    struct lq_error err = {0};
    struct lq_runtime *rt = NULL;
    size_t n;
    assert_non_null(mkdtemp(folder));
    split_language(&split, folder);
    assert_int_equal(split.n_files, 3);
    const char *first = split.files[0].path, *last = split.files[2].path;
    const struct lq_runtime_options options = {.language = first, .mmproj = mmproj, .threads = 1};
    if (lq_runtime_open(&rt, &options, &err) != LQ_OK) fail_msg("%s", err.message);
    lq_runtime_free(rt);
    snprintf(message, sizeof message, "not the first shard; name %s", first);
    refuse(last, mmproj, last, LQ_ERR_USAGE, message);
    char *bytes = load(last, &n);
    save(last, bytes, n - 1);
    snprintf(
        message, sizeof message,
        "tensor 'output.weight': data beyond the end of the file: 262144 bytes needed at byte %zu, the file has %zu",
        n - 262144, n - 1);
    refuse(first, mmproj, last, LQ_ERR_FORMAT, message);
    unlink(last);
    snprintf(message, sizeof message, "this shard is missing: %s is one of 3", first);
    refuse(first, mmproj, last, LQ_ERR_IO, message);
    for (size_t i = 0; i < split.n_files; i++) unlink(split.files[i].path);
    rmdir(folder);
    free(bytes);
    lq_quantize_result_release(&split);
}

static void check_picture(const void *bytes, size_t n, enum lq_status status, const char *rest)
{
    char path[128], message[512];
    struct lq_error err = {0};
    struct lq_picture_file file = {0};
    snprintf(path, sizeof path, "%s/picture.png", pair.folder);
    snprintf(message, sizeof message, "%s: %s", path, rest);
    save(path, bytes, n);
    assert_int_equal(lq_picture_load(&file, path, &err), status);
    assert_string_equal(err.message, message);
    assert_null(file.bytes);
    unlink(path);
}

#define PNG "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
#define LIMITS(pixels) "at most 65535 a side and " pixels " in all are read: scale the picture down"

static void test_pictures_that_are_none(void **state)
{
    (void)state;
    char huge[64] = PNG "\0\0\xff\xff\0\0\xff\xff", wide[64] = PNG "\0\x01\x86\xa0\0\0\0\x01",
         flat[64] = PNG "\0\0\0\x08", much[64] = PNG "\0\0\x20\0\0\0\x10\x01";
    static const char jpeg[16] = "\xff\xd8\xff\xc0\0\x11\x08\x20\x01\x20\0\x03";
    struct lq_error err = {0};
    struct lq_picture_file file = {0};
    check_picture("", 0, LQ_ERR_FORMAT, "the file is empty, a picture is expected");
    check_picture("just some text", 14, LQ_ERR_FORMAT, "not a picture: found neither a PNG, JPEG, GIF nor BMP header");
    check_picture(PNG, 16, LQ_ERR_FORMAT, "the PNG header is cut short or damaged (16 bytes)");
    check_picture(huge, sizeof huge, LQ_ERR_UNSUPPORTED,
                  "the PNG header claims 65535 x 65535 pixels; " LIMITS("33554432"));
    check_picture(wide, sizeof wide, LQ_ERR_UNSUPPORTED,
                  "the PNG header claims 100000 x 1 pixels; " LIMITS("33554432"));
    check_picture(much, sizeof much, LQ_ERR_UNSUPPORTED,
                  "the PNG header claims 8192 x 4097 pixels; " LIMITS("33554432"));
    check_picture(jpeg, sizeof jpeg, LQ_ERR_UNSUPPORTED,
                  "the JPEG header claims 8192 x 8193 pixels; " LIMITS("67108864"));
    check_picture(flat, sizeof flat, LQ_ERR_FORMAT, "the PNG header claims 8 x 0 pixels");
    check_picture("GIF89a\x10\0\0\0", 10, LQ_ERR_FORMAT, "the GIF header is cut short or damaged (10 bytes)");
    check_picture("BM..", 4, LQ_ERR_FORMAT, "the BMP header is cut short or damaged (4 bytes)");
    check_picture("\xff\xd8\xff\xe0\0\x01xxxxxxxxxxxx", 18, LQ_ERR_FORMAT,
                  "the JPEG header is cut short or damaged (18 bytes)");
    check_picture("\xff\xd8\xff\xe0\xff\xff", 6, LQ_ERR_FORMAT, "the JPEG header is cut short or damaged (6 bytes)");
    assert_int_equal(lq_picture_load(&file, pair.folder, &err), LQ_ERR_IO);
}

static void check_size(const void *bytes, size_t n, const char *kind, uint32_t width, uint32_t height)
{
    char path[128];
    struct lq_error err = {0};
    struct lq_picture_file file = {0};
    snprintf(path, sizeof path, "%s/picture", pair.folder);
    save(path, bytes, n);
    if (lq_picture_load(&file, path, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_string_equal(file.kind, kind);
    assert_int_equal(file.width, width);
    assert_int_equal(file.height, height);
    free(file.bytes);
    unlink(path);
}

static void test_sizes_in_headers(void **state)
{
    (void)state;
    static const char jpeg[] = "\xff\xd8\xff\xe0\0\x04xx\xff\xff\xc2\0\x11\x08\x01\x02\x03\x04\x03";
    static const char bmp[32] = "BM............\x28\0\0\0\x10\0\0\0\xf8\xff\xff\xff"; /* rows from the top down */
    static const char old_bmp[32] = "BM............\x0c\0\0\0\x10\0\x09\0";
    check_size(PNG "\0\0\x01\0\0\0\0\x02\x08\x02\0\0\0....", 33, "PNG", 256, 2);
    check_size(jpeg, sizeof jpeg, "JPEG", 0x304, 0x102);
    check_size(bmp, sizeof bmp, "BMP", 16, 8);
    check_size(old_bmp, sizeof old_bmp, "BMP", 16, 9);
    check_size("GIF89a\x10\0\x01\x01\0\0\0", 13, "GIF", 16, 257);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_metadata_that_llama_cpp_would_die_of),
    cmocka_unit_test(test_llama_cpps_own_reason),
    cmocka_unit_test(test_wrong_files),
    cmocka_unit_test(test_halves_of_different_width),
    cmocka_unit_test(test_shards),
    cmocka_unit_test(test_pictures_that_are_none),
    cmocka_unit_test(test_sizes_in_headers),
};

int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
