#include "llava_quantize/model.h"
#include "runtime/backend.h"
#include "runtime/check.h"
#include "runtime/class_token.h"
#include "runtime/session.h"
#include "runtime/speak.h"
#include "runtime/template.h"
#include "runtime/usage.h"
#include "runtime/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_ANSWER 256
#define SMALL_MODEL 50000000 /* weights */

bool lq_runtime_cancelled(void *data)
{
    const struct lq_hooks *hooks = data;
    return hooks->cancelled != NULL && hooks->cancelled(hooks->data);
}

static bool go_on(float share, void *data)
{
    (void)share;
    return !lq_runtime_cancelled(data);
}

static enum lq_status refused(struct lq_runtime *rt, const char *path, const char *what, struct lq_error *err)
{
    if (lq_runtime_cancelled(&rt->hooks)) return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
    return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot %s: %s", path, what, lq_log_reason(&rt->log));
}

static enum lq_status load_language(struct lq_runtime *rt, struct lq_error *err)
{
    ggml_backend_dev_t no_devices[] = {NULL};
    struct llama_model_params params = llama_model_default_params();
    params.devices = no_devices;
    params.n_gpu_layers = 0;
    params.progress_callback = go_on;
    params.progress_callback_user_data = &rt->hooks;
    if (rt->watch != NULL && !lq_watch_is_mapped(rt->watch)) {
        params.load_mode = LLAMA_LOAD_MODE_NONE;
        params.use_extra_bufts = false;
    }
    rt->model = llama_model_load_from_file(rt->language, params);
    if (rt->model == NULL) return refused(rt, rt->language, "load the model", err);
    rt->vocab = llama_model_get_vocab(rt->model);
    if (llama_vocab_type(rt->vocab) == LLAMA_VOCAB_TYPE_NONE || llama_vocab_n_tokens(rt->vocab) <= 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: the model has no tokenizer", rt->language);
    if (llama_model_has_encoder(rt->model) || !llama_model_has_decoder(rt->model))
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: not a decoder-only language model", rt->language);
    return LQ_OK;
}

/* Both callbacks of a tower: each lets the other's nodes pass. */
static bool class_token_and_watch(struct ggml_tensor *node, bool ask, void *watch)
{
    bool first = lq_class_token_first(node, ask, NULL), second = lq_watch_node(node, ask, watch);
    return ask ? first || second : first && second;
}

static enum lq_status load_vision(struct lq_runtime *rt, bool class_first, struct lq_error *err)
{
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = false;
    params.print_timings = false;
    params.warmup = false;
    params.cb_eval = class_first ? lq_class_token_first : NULL;
    if (rt->watch != NULL) params.cb_eval = class_first ? class_token_and_watch : lq_watch_node;
    params.cb_eval_user_data = rt->watch;
    params.n_threads = (int)rt->threads;
    params.progress_callback = go_on;
    params.progress_callback_user_data = &rt->hooks;
    rt->vision = mtmd_init_from_file(rt->mmproj, rt->model, params);
    if (rt->vision == NULL) return refused(rt, rt->mmproj, "load the vision half", err);
    if (!mtmd_support_vision(rt->vision))
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: the file holds no vision tower", rt->mmproj);
    return LQ_OK;
}

/* ggml's threads spin while they wait for one another, which costs a small model more than they save it. More of them
 * than CPUs wait for one that does not run: 300 on two CPUs answer nothing within minutes. */
static unsigned choose_threads(const struct lq_runtime *rt, unsigned asked)
{
    unsigned cpus = lq_cpu_count() < GGML_MAX_N_THREADS ? lq_cpu_count() : GGML_MAX_N_THREADS;
    if (asked == 0) return llama_model_n_params(rt->model) < SMALL_MODEL ? 1 : cpus;
    return asked < cpus ? asked : cpus;
}

static void note_template(const struct lq_runtime *rt)
{
    if (rt->hooks.log == NULL || llama_model_chat_template(rt->model, NULL) == NULL || lq_template_known(rt)) return;
    rt->hooks.log(rt->hooks.data, LQ_LOG_INFO,
                  "the model's chat template is not one that llama.cpp's C API knows; "
                  "using USER:<image> QUESTION ASSISTANT:");
}

static enum lq_status open_pair(struct lq_runtime *rt, const struct lq_runtime_options *options, bool llava,
                                struct lq_error *err)
{
    rt->language = strdup(options->language);
    rt->mmproj = strdup(options->mmproj);
    if (rt->language == NULL || rt->mmproj == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the paths");
    if (options->hooks != NULL) rt->hooks = *options->hooks;
    rt->context = options->context;
    lq_log_begin(&rt->log, &rt->hooks);
    enum lq_status status = lq_backend_prepare(err);
    if (status == LQ_OK) status = load_language(rt, err);
    if (status == LQ_OK) rt->threads = choose_threads(rt, options->threads);
    if (status == LQ_OK) status = lq_backend_pool_new(&rt->pool, rt->threads, err);
    if (status == LQ_OK) status = load_vision(rt, llava && !options->stock, err);
    if (status == LQ_OK) note_template(rt);
    lq_log_end(&rt->log);
    return status;
}

static enum lq_status open_runtime(struct lq_runtime **out, const struct lq_runtime_options *options, bool watched,
                                   const struct lq_observer *observer, struct lq_error *err)
{
    if (options->language == NULL || options->mmproj == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "asking takes both halves of a pair: the %s is missing",
                            options->language == NULL ? "language file" : "mmproj file");
    bool llava = false;
    enum lq_status status = lq_runtime_check(options->language, options->mmproj, &llava, err);
    if (status != LQ_OK) return status;
    struct lq_runtime *rt = calloc(1, sizeof *rt);
    if (rt == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the runtime");
    rt->memory_file = lq_usage_open();
    struct lq_usage usage = lq_usage_start(rt);
    if (watched) status = lq_watch_new(&rt->watch, observer, err);
    if (status == LQ_OK) status = open_pair(rt, options, llava, err);
    lq_usage_stop(&usage, rt, 0);
    if (status == LQ_OK) *out = rt;
    else lq_runtime_free(rt);
    return status;
}

enum lq_status lq_runtime_open(struct lq_runtime **out, const struct lq_runtime_options *options, struct lq_error *err)
{
    return open_runtime(out, options, false, NULL, err);
}

enum lq_status lq_runtime_open_observed(struct lq_runtime **out, const struct lq_runtime_options *options,
                                        const struct lq_observer *observer, struct lq_error *err)
{
    return open_runtime(out, options, true, observer, err);
}

void lq_runtime_free(struct lq_runtime *rt)
{
    if (rt == NULL) return;
    lq_log_begin(&rt->log, &rt->hooks);
    lq_lane_free(rt->lane);
    lq_view_free(rt->view);
    if (rt->vision != NULL) mtmd_free(rt->vision);
    lq_backend_pool_free(rt->pool);
    if (rt->model != NULL) llama_model_free(rt->model);
    lq_watch_free(rt->watch);
    lq_model_free(rt->files);
    lq_log_end(&rt->log);
    if (rt->memory_file >= 0) close(rt->memory_file);
    free(rt->language);
    free(rt->mmproj);
    free(rt);
}

static struct llama_sampler *make_sampler(const struct lq_question *question)
{
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (question->temperature > 0) {
        llama_sampler_chain_add(chain, llama_sampler_init_temp(question->temperature));
        llama_sampler_chain_add(chain, llama_sampler_init_dist(question->seed));
    } else {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    }
    return chain;
}

/* Chooses the answer's next token from the latest logits. */
struct chooser {
    struct llama_sampler *sampler;
    llama_token_data *candidates; /* one per token of the vocabulary */
    size_t n_vocab;
    llama_token token; /* the one chosen */
};

static void choose(void *data, const float *logits)
{
    struct chooser *c = data;
    for (size_t i = 0; i < c->n_vocab; i++)
        c->candidates[i] = (llama_token_data){.id = (llama_token)i, .logit = logits[i]};
    llama_token_data_array all = {.data = c->candidates, .size = c->n_vocab, .selected = -1};
    llama_sampler_apply(c->sampler, &all);
    c->token = all.data[all.selected].id;
    llama_sampler_accept(c->sampler, c->token);
}

static enum lq_status chooser_init(struct chooser *c, const struct lq_runtime *rt, const struct lq_question *question,
                                   struct lq_error *err)
{
    c->n_vocab = lq_runtime_vocabulary(rt);
    c->candidates = calloc(c->n_vocab, sizeof *c->candidates);
    if (c->candidates == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu tokens", c->n_vocab);
    c->sampler = make_sampler(question);
    return LQ_OK;
}

static void chooser_release(struct chooser *c)
{
    if (c->sampler != NULL) llama_sampler_free(c->sampler);
    free(c->candidates);
}

/* Says the token that the prompt's logits gave, and those that follow. */
static enum lq_status answer(struct lq_runtime *rt, const struct lq_question *question, struct chooser *c,
                             struct lq_speaker *speaker, struct lq_error *err)
{
    size_t limit = question->max_tokens != 0 ? question->max_tokens : DEFAULT_ANSWER;
    enum lq_status status = LQ_OK;
    bool more = true;
    for (size_t i = 0; i < limit && !lq_runtime_is_end(rt, c->token); i++) {
        status = lq_speak(speaker, rt, c->token, &more, err);
        if (status != LQ_OK || !more || i + 1 == limit || lq_session_room(rt) == 0) break;
        status = lq_session_continue(rt, c->token, choose, c, err);
        if (status != LQ_OK) break;
    }
    if (status == LQ_OK && more) lq_speak_end(speaker);
    return status;
}

enum lq_status lq_runtime_ask(struct lq_runtime *rt, const struct lq_question *question, lq_piece_fn *piece, void *data,
                              struct lq_error *err)
{
    struct lq_tokens head = {0}, tail = {0};
    struct lq_speaker speaker = {.piece = piece, .data = data};
    struct chooser chooser = {0};
    if (!isfinite(question->temperature) || question->temperature < 0)
        return lq_error_set(err, LQ_ERR_USAGE, "temperature %g: a number from 0 up is expected",
                            (double)question->temperature);
    lq_log_begin(&rt->log, &rt->hooks);
    enum lq_status status = lq_prompt_build(&head, &tail, rt, question, err);
    if (status == LQ_OK) status = lq_session_see(rt, question->image, err);
    if (status == LQ_OK) status = chooser_init(&chooser, rt, question, err);
    if (status == LQ_OK) status = lq_session_begin(rt, &head, &tail, tail.n - 1, choose, &chooser, err);
    if (status == LQ_OK) status = answer(rt, question, &chooser, &speaker, err);
    lq_log_end(&rt->log);
    chooser_release(&chooser);
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
    return status;
}
