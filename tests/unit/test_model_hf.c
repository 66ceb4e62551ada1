/* Hugging Face folders: the golden ones with their config.json or other files changed, opened or refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llava_quantize/model.h"
#include "source/kv.h"
#include "source/source.h"
#include "test_folder.h"

#define GOLDEN LQ_TESTS "/golden/hf/"

static struct lq_error err;

static void path_of(const char *file, char out[256])
{
    snprintf(out, 256, "%s/%s", folder, file);
}

static void write_file(const char *file, const char *text)
{
    char path[256];
    path_of(file, path);
    unlink(path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void link_file(const char *variant, const char *file)
{
    char from[512], to[256];
    snprintf(from, sizeof from, GOLDEN "%s/%s", variant, file);
    path_of(file, to);
    unlink(to);
    assert_int_equal(symlink(from, to), 0);
}

static json_t *config_of(const char *variant)
{
    char path[512];
    json_error_t why;
    snprintf(path, sizeof path, GOLDEN "%s/config.json", variant);
    json_t *config = json_load_file(path, 0, &why);
    assert_non_null(config);
    return config;
}

/* The golden variant with the object `changes` (JSON with ' for ") merged into its config.json; null takes a key away.
 */
static void prepare(const char *variant, const char *changes)
{
    char text[512], *dumped;
    json_t *config = config_of(variant);
    size_t n = strlen(changes);
    memcpy(text, changes, n + 1);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\'') text[i] = '"';
    json_t *patch = json_loads(text, 0, NULL);
    assert_non_null(patch);
    json_object_update_recursive(config, patch);
    dumped = json_dumps(config, 0);
    write_file("config.json", dumped);
    link_file(variant, "model.safetensors");
    link_file(variant, "tokenizer.model");
    free(dumped);
    json_decref(patch);
    json_decref(config);
}

static struct lq_model *open_folder(void)
{
    struct lq_model *m = NULL;
    return lq_model_open(&m, folder, NULL, &err) == LQ_OK ? m : NULL;
}

static struct lq_model *opened(void)
{
    struct lq_model *m = open_folder();
    if (m == NULL) fail_msg("%s", err.message);
    return m;
}

/* The message stands behind "FOLDER/FILE: ". */
static void refused(enum lq_status status, const char *file, const char *message)
{
    char expected[1024];
    snprintf(expected, sizeof expected, "%s%s%s: %s", folder, file[0] == '\0' ? "" : "/", file, message);
    assert_null(open_folder());
    assert_string_equal(err.message, expected);
    assert_int_equal(err.status, status);
}

static void config_refused(const char *changes, enum lq_status status, const char *message)
{
    prepare("v5", changes);
    refused(status, "config.json", message);
}

static uint64_t number(const struct lq_model *m, enum lq_half half, const char *key)
{
    uint64_t value = UINT64_MAX;
    assert_true(lq_kvs_get_u64(m->half[half]->kvs, key, &value));
    return value;
}

static double real(const struct lq_model *m, enum lq_half half, const char *key)
{
    double value = NAN;
    assert_true(lq_kvs_get_f64(m->half[half]->kvs, key, &value));
    return value;
}

static const struct lq_tensor *tensor(const struct lq_model *m, enum lq_half half, const char *name)
{
    for (size_t i = 0; i < m->half[half]->n_tensors; i++)
        if (strcmp(m->half[half]->tensors[i].name, name) == 0) return &m->half[half]->tensors[i];
    return NULL;
}

/* Defaults that a config may leave out: the classes' own. */
static void absent_keys_take_the_defaults_of_the_classes(void **state)
{
    (void)state;
    prepare("v5",
            "{'text_config': {'rms_norm_eps': null, 'num_key_value_heads': null, 'rope_parameters': null, 'head_dim': "
            "null, 'max_position_embeddings': null, 'model_type': null}, 'vision_config': {'layer_norm_eps': null, "
            "'projection_dim': null, 'hidden_act': null}, 'vision_feature_layer': null, 'projector_hidden_act': null}");
    struct lq_model *m = opened();
    assert_true((float)real(m, LQ_LANGUAGE, "llama.attention.layer_norm_rms_epsilon") == 1e-6f);
    assert_true((float)real(m, LQ_LANGUAGE, "llama.rope.freq_base") == 10000.0f);
    assert_int_equal(number(m, LQ_LANGUAGE, "llama.attention.head_count_kv"), 4);
    assert_int_equal(number(m, LQ_LANGUAGE, "llama.rope.dimension_count"), 8);
    assert_int_equal(number(m, LQ_LANGUAGE, "llama.context_length"), 2048);
    assert_int_equal(number(m, LQ_VISION, "clip.vision.projection_dim"), 512);
    assert_int_equal(number(m, LQ_VISION, "clip.vision.block_count"), 2);
    lq_model_free(m);
}

static void defaults_are_checked_against_the_shapes(void **state)
{
    (void)state;
    prepare("v5", "{'text_config': {'vocab_size': 600}}");
    refused(LQ_ERR_FORMAT, "model.safetensors",
            "tensor 'language_model.model.embed_tokens.weight': shape [512, 32], expected [600, 32] from config.json");
    prepare("v5", "{'text_config': {'hidden_size': null}}");
    refused(LQ_ERR_FORMAT, "model.safetensors",
            "tensor 'multi_modal_projector.linear_1.weight': shape [32, 32], expected [4096, 32] from config.json");
    prepare("v5", "{'vision_config': {'patch_size': 16}}");
    refused(LQ_ERR_FORMAT, "model.safetensors",
            "tensor 'vision_tower.embeddings.patch_embedding.weight': shape [32, 3, 8, 8], expected [32, 3, 16, 16] "
            "from config.json");
    prepare("v5", "{'vision_config': {'image_size': 64}}");
    refused(LQ_ERR_FORMAT, "model.safetensors",
            "tensor 'vision_tower.embeddings.position_embedding.weight': shape [17, 32], expected [65, 32] from "
            "config.json");
}

static void kinds_that_are_not_handled(void **state)
{
    (void)state;
    config_refused("{'model_type': 'llava_next'}", LQ_ERR_UNSUPPORTED,
                   "key 'model_type' is \"llava_next\", expected \"llava\"");
    config_refused(
        "{'mm_vision_tower': 'openai/clip'}", LQ_ERR_UNSUPPORTED,
        "the original LLaVA layout (key 'mm_vision_tower'), whose vision tower lies elsewhere; use the model's "
        "Hugging Face form");
    config_refused("{'quantization_config': {'bits': 4}}", LQ_ERR_UNSUPPORTED,
                   "already quantised (key 'quantization_config'); start from the full-precision model");
    config_refused("{'text_config': null}", LQ_ERR_FORMAT, "key 'text_config' is missing");
    config_refused("{'vision_config': 7}", LQ_ERR_FORMAT, "key 'vision_config' is 7, expected an object");
    config_refused("{'text_config': {'model_type': 'mistral'}}", LQ_ERR_UNSUPPORTED,
                   "key 'text_config.model_type' is \"mistral\", expected \"llama\"");
    config_refused("{'text_config': {'hidden_act': 'gelu'}}", LQ_ERR_UNSUPPORTED,
                   "key 'text_config.hidden_act' is \"gelu\", expected \"silu\"");
    config_refused("{'vision_config': {'model_type': 'siglip_vision_model'}}", LQ_ERR_UNSUPPORTED,
                   "key 'vision_config.model_type' is \"siglip_vision_model\", expected \"clip_vision_model\"");
    config_refused("{'multimodal_projector_bias': false}", LQ_ERR_UNSUPPORTED,
                   "key 'multimodal_projector_bias' is false, expected true");
    config_refused("{'vision_feature_select_strategy': 'full'}", LQ_ERR_UNSUPPORTED,
                   "key 'vision_feature_select_strategy' is \"full\", expected \"default\"");
}

static void rotations(void **state)
{
    (void)state;
    config_refused("{'text_config': {'rope_parameters': {'rope_type': 'llama3', 'factor': 8.0}}}", LQ_ERR_UNSUPPORTED,
                   "key 'text_config.rope_parameters.rope_type' is \"llama3\", expected \"default\" or \"linear\"");
    config_refused("{'text_config': {'rope_parameters': null, 'rope_scaling': {'type': 'dynamic', 'factor': 2.0}}}",
                   LQ_ERR_UNSUPPORTED,
                   "key 'text_config.rope_scaling.type' is \"dynamic\", expected \"default\" or \"linear\"");
    config_refused("{'text_config': {'rope_parameters': {'partial_rotary_factor': 0.5}}}", LQ_ERR_UNSUPPORTED,
                   "key 'text_config.rope_parameters.partial_rotary_factor' is 0.5, expected 1");
    prepare("v5", "{'text_config': {'rope_parameters': null, 'rope_theta': 5000, 'rope_scaling': {'type': 'linear', "
                  "'factor': 4}}}");
    struct lq_model *m = opened();
    assert_true(real(m, LQ_LANGUAGE, "llama.rope.freq_base") == 5000);
    assert_true(real(m, LQ_LANGUAGE, "llama.rope.scaling.factor") == 4);
    lq_model_free(m);
}

static void numbers_are_checked(void **state)
{
    (void)state;
    config_refused("{'text_config': {'hidden_size': 0}}", LQ_ERR_FORMAT,
                   "key 'text_config.hidden_size' is 0, expected a whole number from 1 to 1048576");
    config_refused("{'text_config': {'hidden_size': '32'}}", LQ_ERR_FORMAT,
                   "key 'text_config.hidden_size' is \"32\", expected a whole number from 1 to 1048576");
    config_refused("{'text_config': {'num_key_value_heads': 3}}", LQ_ERR_FORMAT,
                   "key 'text_config.num_key_value_heads' is 3, expected a divisor of num_attention_heads");
    config_refused("{'text_config': {'head_dim': 7}}", LQ_ERR_UNSUPPORTED,
                   "key 'text_config.head_dim' is 7, expected an even number");
    config_refused("{'text_config': {'rms_norm_eps': -1}}", LQ_ERR_FORMAT,
                   "key 'text_config.rms_norm_eps' is -1, expected a number above 0");
    config_refused("{'text_config': {'eos_token_id': 512}}", LQ_ERR_FORMAT,
                   "key 'text_config.eos_token_id' is 512, expected a token below vocab_size");
    config_refused("{'vision_config': {'num_attention_heads': 5}}", LQ_ERR_FORMAT,
                   "key 'vision_config.num_attention_heads' is 5, expected a divisor of hidden_size");
}

static void check_layer(const char *layer, uint64_t blocks, int32_t feature)
{
    char changes[64];
    snprintf(changes, sizeof changes, "{'vision_feature_layer': %s}", layer);
    prepare("v5", changes);
    struct lq_model *m = opened();
    const struct lq_kv *kv = lq_kvs_find(m->half[LQ_VISION]->kvs, "clip.vision.feature_layer");
    assert_int_equal(number(m, LQ_VISION, "clip.vision.block_count"), blocks);
    assert_int_equal(kv->element, LQ_KV_I32);
    assert_int_equal(kv->count, 1);
    assert_memory_equal(kv->raw, &feature, sizeof feature);
    lq_model_free(m);
}

static void feature_layers(void **state)
{
    (void)state;
    check_layer("-1", 3, 3);
    check_layer("-2", 2, 2);
    check_layer("[-3]", 1, 1);
    check_layer("3", 3, 3);
    check_layer("0", 1, 0); /* a tower without blocks would not load */
    config_refused("{'vision_feature_layer': [-2, -1]}", LQ_ERR_UNSUPPORTED,
                   "key 'vision_feature_layer' is [-2,-1], expected one layer: several feature layers are not handled");
    config_refused("{'vision_feature_layer': 4}", LQ_ERR_FORMAT,
                   "key 'vision_feature_layer' is 4, expected a layer of the vision tower");
    config_refused("{'vision_feature_layer': -5}", LQ_ERR_FORMAT,
                   "key 'vision_feature_layer' is -5, expected a layer of the vision tower");
    config_refused("{'vision_feature_layer': []}", LQ_ERR_FORMAT,
                   "key 'vision_feature_layer' is [], expected a layer of the vision tower");
}

static void missing_and_superfluous_tensors_are_named(void **state)
{
    (void)state;
    prepare("v5", "{'text_config': {'num_hidden_layers': 3}}");
    refused(LQ_ERR_FORMAT, "", "tensor 'language_model.model.layers.2.input_layernorm.weight' is missing");
    prepare("v5", "{'text_config': {'num_hidden_layers': 1}}");
    refused(LQ_ERR_UNSUPPORTED, "model.safetensors",
            "tensor 'language_model.model.layers.1.input_layernorm.weight' has no place in a LLaVA-1.5 model of this "
            "config.json; converting would lose it");
    prepare("v5", "{'vision_config': {'num_hidden_layers': 2}}");
    refused(LQ_ERR_UNSUPPORTED, "model.safetensors",
            "tensor 'vision_tower.encoder.layers.2.layer_norm1.bias' has no place in a LLaVA-1.5 model of this "
            "config.json; converting would lose it");
    prepare("v5", "{'text_config': {'attention_bias': true}}");
    refused(LQ_ERR_FORMAT, "", "tensor 'language_model.model.layers.0.self_attn.q_proj.bias' is missing");
    prepare("gqa_tied", "{'text_config': {'tie_word_embeddings': false}, 'tie_word_embeddings': false}");
    refused(LQ_ERR_FORMAT, "", "tensor 'head.weight' is missing");
}

static void tied_embeddings(void **state)
{
    (void)state;
    prepare("gqa_tied", "{'text_config': {'tie_word_embeddings': null}}"); /* said at the top alone */
    struct lq_model *m = opened();
    assert_null(tensor(m, LQ_LANGUAGE, "output.weight"));
    lq_model_free(m);
    prepare("v5", "{'text_config': {'tie_word_embeddings': null}, 'tie_word_embeddings': true}");
    m = opened(); /* old files say so in vain: their output matrix is there */
    assert_non_null(tensor(m, LQ_LANGUAGE, "output.weight"));
    lq_model_free(m);
    prepare("v5", "{'text_config': {'tie_word_embeddings': true}}");
    m = opened();
    assert_null(tensor(m, LQ_LANGUAGE, "output.weight"));
    lq_model_free(m);
}

static void files_that_are_missing_or_broken(void **state)
{
    (void)state;
    char path[256];
    prepare("v5", "{}");
    path_of("tokenizer.model", path);
    unlink(path);
    refused(LQ_ERR_IO, "tokenizer.model",
            "missing; the SentencePiece tokenizer is needed (a tokenizer.json alone is not handled)");
    write_file("tokenizer.model", "text");
    refused(LQ_ERR_FORMAT, "tokenizer.model", "not a SentencePiece model: it is cut off");
    prepare("v5", "{}");
    write_file("config.json", "{\"model_type\": ");
    assert_null(open_folder());
    assert_non_null(strstr(err.message, "config.json: not valid JSON: line 1: "));
    write_file("config.json", "[]");
    refused(LQ_ERR_FORMAT, "config.json", "not a JSON object");
    prepare("v5", "{}");
    write_file("adapter_config.json", "{}");
    refused(LQ_ERR_UNSUPPORTED, "adapter_config.json",
            "an adapter (LoRA) stands beside the weights: merge it into them first");
}

static void shards(void **state)
{
    (void)state;
    char path[256];
    static const char *const first = "model-00001-of-00002.safetensors", *const second =
                                                                             "model-00002-of-00002.safetensors";
    prepare("v452_bf16_sharded", "{}");
    path_of("model.safetensors", path);
    unlink(path);
    refused(LQ_ERR_IO, "",
            "no *.safetensors beside config.json (a model in another form must be saved as safetensors first)");
    link_file("v452_bf16_sharded", first);
    refused(LQ_ERR_IO, second, "this shard is missing");
    link_file("v452_bf16_sharded", second);
    lq_model_free(opened());
    link_file("v452_bf16_sharded", "model.safetensors.index.json");
    lq_model_free(opened());
    path_of(second, path);
    unlink(path);
    refused(LQ_ERR_IO, second, "this shard is missing");
    write_file("model.safetensors.index.json", "{\"weight_map\": {\"lm_head.weight\": \"../x.safetensors\"}}");
    refused(LQ_ERR_FORMAT, "", "the index names a shard outside the folder: '../x.safetensors'");
    write_file("model.safetensors.index.json", "{\"weight_map\": {\"none\": \"model-00001-of-00002.safetensors\"}}");
    refused(LQ_ERR_FORMAT, "model.safetensors.index.json", "tensor 'none' is not in model-00001-of-00002.safetensors");
    write_file("model.safetensors.index.json", "{}");
    refused(LQ_ERR_FORMAT, "model.safetensors.index.json", "key 'weight_map' is missing or empty");
}

static void a_tensor_in_two_files(void **state)
{
    (void)state;
    char from[512], to[256];
    prepare("v5", "{}");
    snprintf(from, sizeof from, GOLDEN "v5/model.safetensors");
    path_of("other.safetensors", to);
    assert_int_equal(symlink(from, to), 0);
    assert_null(open_folder());
    assert_non_null(strstr(err.message, "tensor 'language_model.lm_head.weight' stands in "));
}

/* The text of token `id` in the list at tokenizer.ggml.tokens. */
static void check_token(const struct lq_model *m, uint64_t id, const char *text, int32_t type)
{
    const struct lq_kv *tokens = lq_kvs_find(m->half[LQ_LANGUAGE]->kvs, "tokenizer.ggml.tokens");
    const struct lq_kv *types = lq_kvs_find(m->half[LQ_LANGUAGE]->kvs, "tokenizer.ggml.token_type");
    const uint8_t *at = tokens->raw;
    uint64_t length;
    int32_t found;
    for (uint64_t i = 0;; i++) {
        memcpy(&length, at, sizeof length);
        if (i == id) break;
        at += sizeof length + length;
    }
    assert_int_equal(length, strlen(text));
    assert_memory_equal(at + sizeof length, text, length);
    memcpy(&found, types->raw + id * sizeof found, sizeof found);
    assert_int_equal(found, type);
}

static bool flag(const struct lq_model *m, const char *key)
{
    bool value = false;
    assert_true(lq_kvs_get_bool(m->half[LQ_LANGUAGE]->kvs, key, &value));
    return value;
}

static void tokens_from_config_alone(void **state)
{
    (void)state;
    prepare("v5", "{}");
    struct lq_model *m = opened();
    check_token(m, 1, "<s>", 3);
    check_token(m, 510, "<image>", 3);
    check_token(m, 511, "<pad>", 3);
    assert_int_equal(number(m, LQ_LANGUAGE, "tokenizer.ggml.padding_token_id"), 511);
    assert_true(flag(m, "tokenizer.ggml.add_bos_token"));
    assert_false(flag(m, "tokenizer.ggml.add_eos_token"));
    assert_true(flag(m, "tokenizer.ggml.add_space_prefix"));
    assert_null(lq_kvs_find(m->half[LQ_LANGUAGE]->kvs, "tokenizer.chat_template"));
    lq_model_free(m);
    prepare("v5", "{'image_token_index': null, 'text_config': {'pad_token_id': null}}");
    m = opened();
    check_token(m, 510, "[PAD510]", 5);
    check_token(m, 511, "[PAD511]", 5);
    lq_model_free(m);
}

static void tokens_from_the_tokenizer_files(void **state)
{
    (void)state;
    prepare("v5", "{}");
    write_file("added_tokens.json", "{\"<extra>\": 510, \"<beyond>\": 9999}");
    write_file("tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"511\": {\"content\": \"<special>\", \"special\": true}}, "
               "\"add_bos_token\": false, "
               "\"add_prefix_space\": false, \"chat_template\": [{\"name\": \"other\", \"template\": \"no\"}, "
               "{\"name\": \"default\", \"template\": \"{{ yes }}\"}]}");
    struct lq_model *m = opened();
    check_token(m, 510, "<extra>", 4);
    check_token(m, 511, "<special>", 3);
    assert_false(flag(m, "tokenizer.ggml.add_bos_token"));
    assert_false(flag(m, "tokenizer.ggml.add_space_prefix"));
    const struct lq_kv *template = lq_kvs_find(m->half[LQ_LANGUAGE]->kvs, "tokenizer.chat_template");
    assert_non_null(template);
    assert_memory_equal(template->raw + 8, "{{ yes }}", 9);
    lq_model_free(m);
    write_file("chat_template.json", "{\"chat_template\": \"from json\"}");
    m = opened();
    assert_memory_equal(lq_kvs_find(m->half[LQ_LANGUAGE]->kvs, "tokenizer.chat_template")->raw + 8, "from json", 9);
    lq_model_free(m);
    write_file("chat_template.jinja", "from jinja");
    m = opened();
    assert_memory_equal(lq_kvs_find(m->half[LQ_LANGUAGE]->kvs, "tokenizer.chat_template")->raw + 8, "from jinja", 10);
    lq_model_free(m);
}

/* Added tokens are matched in plain text: marked spaces are spaces again, and what looks like a control token is one.
 */
static void tokens_added_to_text(void **state)
{
    (void)state;
    prepare("v5", "{}");
    write_file("tokenizer_config.json", "{\"added_tokens_decoder\": {\"510\": {\"content\": \"<|end|>\"}, "
                                        "\"511\": {\"content\": \"\\u2581\\u2581x\"}}}");
    struct lq_model *m = opened();
    check_token(m, 510, "<|end|>", 3);
    check_token(m, 511, "  x", 4);
    lq_model_free(m);
    write_file("tokenizer_config.json", "{\"added_tokens_decoder\": {\"ten\": {\"content\": \"x\"}}}");
    refused(LQ_ERR_FORMAT, "tokenizer_config.json", "added_tokens_decoder: 'ten' is no token");
}

static void tokens_that_contradict(void **state)
{
    (void)state;
    prepare("v5", "{}");
    write_file("added_tokens.json", "{\"<s>\": 510}"); /* llama.cpp would abort on the twin */
    refused(LQ_ERR_FORMAT, "", "tokens 1 and 510 are both '<s>'");
    write_file("added_tokens.json", "{\"<x>\": \"510\"}");
    refused(LQ_ERR_FORMAT, "added_tokens.json", "token '<x>' has no number");
    prepare("v5", "{'text_config': {'vocab_size': 500, 'pad_token_id': null}, 'image_token_index': null}");
    refused(LQ_ERR_FORMAT, "tokenizer.model", "510 pieces, but vocab_size in config.json is 500");
}

static void preprocessing(void **state)
{
    (void)state;
    const float given[3] = {0.5f, 0.25f, 0.75f}, clip[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    prepare("v5", "{}");
    write_file("preprocessor_config.json", "{\"image_mean\": [0.5, 0.25, 0.75]}");
    struct lq_model *m = opened();
    assert_memory_equal(lq_kvs_find(m->half[LQ_VISION]->kvs, "clip.vision.image_mean")->raw, given, sizeof given);
    assert_memory_equal(lq_kvs_find(m->half[LQ_VISION]->kvs, "clip.vision.image_std")->raw, clip, sizeof clip);
    lq_model_free(m);
    write_file("preprocessor_config.json", "{\"image_mean\": [0.5, 0.25]}");
    refused(LQ_ERR_FORMAT, "preprocessor_config.json", "key 'image_mean' is [0.5,0.25], expected three numbers");
    write_file("preprocessor_config.json", "{}");
    write_file("processor_config.json", "{\"image_processor\": {\"image_mean\": [0.5, 0.25, 0.75]}}");
    m = opened();
    assert_memory_equal(lq_kvs_find(m->half[LQ_VISION]->kvs, "clip.vision.image_mean")->raw, given, sizeof given);
    lq_model_free(m);
}

/* Row r of a permuted matrix, read alone or among others, is row r of numpy's reshape(h, 2, d/2, n).swapaxes(1, 2). */
static void query_rows_are_permuted_whatever_the_span(void **state)
{
    (void)state;
    enum { ROWS = 32, COLUMNS = 32, DIM = 8 };
    static uint16_t stored[ROWS][COLUMNS], all[ROWS][COLUMNS], some[ROWS][COLUMNS];
    struct lq_source *s = NULL;
    prepare("v5", "{}");
    assert_int_equal(lq_source_open(&s, GOLDEN "v5/model.safetensors", &err), LQ_OK);
    const struct lq_source_tensor *raw = lq_source_find(s, "language_model.model.layers.0.self_attn.q_proj.weight");
    assert_int_equal(lq_source_read(s, raw, 0, sizeof stored, stored, &err), LQ_OK);
    struct lq_model *m = opened();
    const struct lq_tensor *q = tensor(m, LQ_LANGUAGE, "blk.0.attn_q.weight");
    assert_int_equal(lq_model_read(m, q, 0, ROWS, all, &err), LQ_OK);
    for (int r = 0; r < ROWS; r++)
        assert_memory_equal(all[r], stored[r / DIM * DIM + r % 2 * (DIM / 2) + r % DIM / 2], sizeof all[r]);
    for (uint64_t first = 0; first < ROWS; first++)
        for (uint64_t n = 1; first + n <= ROWS; n++) {
            memset(some, 0xff, sizeof some);
            assert_int_equal(lq_model_read(m, q, first, n, some, &err), LQ_OK);
            assert_memory_equal(some, all[first], n * sizeof all[0]);
            assert_true(first + n == ROWS || some[n][0] == 0xffff);
        }
    lq_model_free(m);
    lq_source_close(s);
}

static void what_is_kept_in_full(void **state)
{
    (void)state;
    prepare("v5", "{}");
    struct lq_model *m = opened();
    for (int h = 0; h < LQ_HALVES; h++)
        for (size_t i = 0; i < m->half[h]->n_tensors; i++) {
            const struct lq_tensor *t = &m->half[h]->tensors[i];
            assert_int_equal(t->keep, t->quantisable ? LQ_TYPE_F16 : LQ_TYPE_F32);
            assert_int_equal(t->quantisable, t->role < LQ_ROLE_PATCH_EMBEDDING);
        }
    lq_model_free(m);
}

static void weights_without_their_folder(void **state)
{
    (void)state;
    struct lq_model *m = NULL;
    assert_int_equal(lq_model_open(&m, GOLDEN "v5/model.safetensors", NULL, &err), LQ_ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        GOLDEN "v5/model.safetensors: a safetensors file alone is no model: name its folder, "
                               "with config.json and tokenizer.model");
}

static void half_of_a_folder(void **state)
{
    (void)state;
    struct lq_model *m = NULL;
    prepare("v5", "{}");
    assert_int_equal(lq_model_open(&m, folder, &(struct lq_model_options){.only = LQ_VISION}, &err), LQ_OK);
    assert_null(m->half[LQ_LANGUAGE]);
    assert_non_null(m->half[LQ_VISION]);
    lq_model_free(m);
    assert_int_equal(lq_model_open(&m, folder, &(struct lq_model_options){.mmproj = "x", .only = -1}, &err),
                     LQ_ERR_USAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(absent_keys_take_the_defaults_of_the_classes),
        TEST(defaults_are_checked_against_the_shapes),
        TEST(kinds_that_are_not_handled),
        TEST(rotations),
        TEST(numbers_are_checked),
        TEST(feature_layers),
        TEST(missing_and_superfluous_tensors_are_named),
        TEST(tied_embeddings),
        TEST(files_that_are_missing_or_broken),
        TEST(shards),
        TEST(a_tensor_in_two_files),
        TEST(tokens_from_config_alone),
        TEST(tokens_from_the_tokenizer_files),
        TEST(tokens_added_to_text),
        TEST(tokens_that_contradict),
        TEST(preprocessing),
        TEST(query_rows_are_permuted_whatever_the_span),
        TEST(what_is_kept_in_full),
        TEST(weights_without_their_folder),
        TEST(half_of_a_folder),
    };
    return cmocka_run_group_tests_name("model_hf", tests, NULL, NULL);
}
