#include "runtime/backend.h"
#include "runtime/check.h"
#include "runtime/class_token.h"
#include "runtime/session.h"
#include "runtime/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONTEXT 4096
#define DEFAULT_ANSWER 256
#define BATCH 512
#define SMALL_MODEL 50000000 /* weights */

static bool is_cancelled(void *data)
{
    const struct lq_hooks *hooks = data;
    return hooks->cancelled != NULL && hooks->cancelled(hooks->data);
}

static bool go_on(float share, void *data)
{
    (void)share;
    return !is_cancelled(data);
}

static enum lq_status refused(struct lq_runtime *rt, const char *path, const char *what, struct lq_error *err)
{
    if (is_cancelled(&rt->hooks)) return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
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
    rt->model = llama_model_load_from_file(rt->language, params);
    if (rt->model == NULL) return refused(rt, rt->language, "load the model", err);
    rt->vocab = llama_model_get_vocab(rt->model);
    if (llama_vocab_type(rt->vocab) == LLAMA_VOCAB_TYPE_NONE || llama_vocab_n_tokens(rt->vocab) <= 0)
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: the model has no tokenizer", rt->language);
    if (llama_model_has_encoder(rt->model) || !llama_model_has_decoder(rt->model))
        return lq_error_set(err, LQ_ERR_UNSUPPORTED, "%s: not a decoder-only language model", rt->language);
    return LQ_OK;
}

static enum lq_status make_context(struct lq_runtime *rt, unsigned threads, uint32_t context, struct lq_error *err)
{
    uint32_t trained = (uint32_t)llama_model_n_ctx_train(rt->model);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = context != 0 ? context : trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT;
    params.n_batch = params.n_ubatch = BATCH;
    params.n_threads = params.n_threads_batch = (int32_t)threads;
    params.abort_callback = is_cancelled;
    params.abort_callback_data = &rt->hooks;
    params.no_perf = true;
    rt->context = llama_init_from_model(rt->model, params);
    if (rt->context == NULL) return refused(rt, rt->language, "make a context", err);
    enum lq_status status = lq_backend_pool_new(&rt->pool, threads, err);
    if (status == LQ_OK) llama_attach_threadpool(rt->context, rt->pool, rt->pool);
    return status;
}

static enum lq_status load_vision(struct lq_runtime *rt, unsigned threads, bool class_first, struct lq_error *err)
{
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = false;
    params.print_timings = false;
    params.warmup = false;
    params.cb_eval = class_first ? lq_class_token_first : NULL;
    params.n_threads = (int)threads;
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

static enum lq_status open_pair(struct lq_runtime *rt, const struct lq_runtime_options *options, bool llava,
                                struct lq_error *err)
{
    rt->language = strdup(options->language);
    rt->mmproj = strdup(options->mmproj);
    if (rt->language == NULL || rt->mmproj == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the paths");
    if (options->hooks != NULL) rt->hooks = *options->hooks;
    lq_log_begin(&rt->log, &rt->hooks);
    enum lq_status status = lq_backend_prepare(err);
    if (status == LQ_OK) status = load_language(rt, err);
    unsigned threads = status == LQ_OK ? choose_threads(rt, options->threads) : 0;
    if (status == LQ_OK) status = make_context(rt, threads, options->context, err);
    if (status == LQ_OK) status = load_vision(rt, threads, llava && !options->stock, err);
    lq_log_end(&rt->log);
    return status;
}

enum lq_status lq_runtime_open(struct lq_runtime **out, const struct lq_runtime_options *options, struct lq_error *err)
{
    if (options->language == NULL || options->mmproj == NULL)
        return lq_error_set(err, LQ_ERR_USAGE, "asking takes both halves of a pair: the %s is missing",
                            options->language == NULL ? "language file" : "mmproj file");
    bool llava = false;
    enum lq_status status = lq_runtime_check(options->language, options->mmproj, &llava, err);
    if (status != LQ_OK) return status;
    struct lq_runtime *rt = calloc(1, sizeof *rt);
    if (rt == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for the runtime");
    status = open_pair(rt, options, llava, err);
    if (status == LQ_OK) *out = rt;
    else lq_runtime_free(rt);
    return status;
}

void lq_runtime_free(struct lq_runtime *rt)
{
    if (rt == NULL) return;
    lq_log_begin(&rt->log, &rt->hooks);
    lq_session_forget(rt);
    if (rt->vision != NULL) mtmd_free(rt->vision);
    if (rt->context != NULL) llama_free(rt->context);
    lq_backend_pool_free(rt->pool);
    if (rt->model != NULL) llama_model_free(rt->model);
    lq_log_end(&rt->log);
    free(rt->language);
    free(rt->mmproj);
    free(rt);
}

/* Where the answer goes: pieces cut at character boundaries. */
struct speaker {
    lq_piece_fn *piece;
    void *data;
    struct lq_utf8 stream;
    bool begun; /* the answer's first token is behind us: its leading space belongs to the prompt */
};

/* *more turns false when the caller wants no more. */
static enum lq_status speak(struct speaker *s, const struct lq_runtime *rt, llama_token token, bool *more,
                            struct lq_error *err)
{
    int32_t strip = s->begun ? 0 : 1;
    int32_t n = llama_token_to_piece(rt->vocab, token, NULL, 0, strip, false);
    size_t room = (size_t)(n < 0 ? -n : n);
    char *raw = malloc(room + 1), *text = malloc(lq_utf8_room(room));
    enum lq_status status = LQ_OK;
    if (raw == NULL || text == NULL) {
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for the answer");
        goto done;
    }
    n = llama_token_to_piece(rt->vocab, token, raw, (int32_t)room, strip, false);
    size_t length = lq_utf8_push(&s->stream, raw, n > 0 ? (size_t)n : 0, text);
    if (length > 0) *more = s->piece(s->data, text, length);
    s->begun = true;
done:
    free(raw);
    free(text);
    return status;
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

/* Chooses the next token; logits that are not numbers (damaged weights) would lead the samplers astray. */
static enum lq_status choose(const struct lq_runtime *rt, struct llama_sampler *sampler, llama_token *token,
                             struct lq_error *err)
{
    const float *logits = llama_get_logits_ith(rt->context, -1);
    for (int32_t i = 0; logits != NULL && i < llama_vocab_n_tokens(rt->vocab); i++)
        if (isnan(logits[i]))
            return lq_error_set(err, LQ_ERR_RUNTIME, "%s: the model computes NaN: its weights are damaged",
                                rt->language);
    *token = llama_sampler_sample(sampler, rt->context, -1);
    return LQ_OK;
}

static enum lq_status answer(struct lq_runtime *rt, const struct lq_question *question, struct speaker *speaker,
                             struct lq_error *err)
{
    size_t limit = question->max_tokens != 0 ? question->max_tokens : DEFAULT_ANSWER;
    struct llama_sampler *sampler = make_sampler(question);
    enum lq_status status = LQ_OK;
    bool more = true;
    for (size_t i = 0; i < limit && more && status == LQ_OK; i++) {
        llama_token token = LLAMA_TOKEN_NULL;
        status = choose(rt, sampler, &token, err);
        if (status != LQ_OK || llama_vocab_is_eog(rt->vocab, token)) break;
        status = speak(speaker, rt, token, &more, err);
        if (status != LQ_OK || !more || i + 1 == limit || lq_session_room(rt) == 0) break;
        status = lq_session_continue(rt, token, err);
    }
    char rest[3];
    size_t n = lq_utf8_finish(&speaker->stream, rest);
    if (status == LQ_OK && more && n > 0) speaker->piece(speaker->data, rest, n);
    llama_sampler_free(sampler);
    return status;
}

enum lq_status lq_runtime_ask(struct lq_runtime *rt, const struct lq_question *question, lq_piece_fn *piece, void *data,
                              struct lq_error *err)
{
    struct lq_tokens head = {0}, tail = {0};
    struct speaker speaker = {.piece = piece, .data = data};
    if (!isfinite(question->temperature) || question->temperature < 0)
        return lq_error_set(err, LQ_ERR_USAGE, "temperature %g: a number from 0 up is expected",
                            (double)question->temperature);
    lq_log_begin(&rt->log, &rt->hooks);
    enum lq_status status = lq_prompt_build(&head, &tail, rt->model, question, &rt->hooks, err);
    if (status == LQ_OK) status = lq_session_see(rt, question->image, err);
    if (status == LQ_OK) status = lq_session_begin(rt, &head, &tail, tail.n - 1, NULL, NULL, err);
    if (status == LQ_OK) status = answer(rt, question, &speaker, err);
    lq_log_end(&rt->log);
    lq_tokens_release(&head);
    lq_tokens_release(&tail);
    return status;
}
