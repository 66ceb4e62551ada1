#include "runtime/lane.h"

#include "runtime/usage.h"
#include "runtime/view.h"
#include "runtime/watch.h"

#include <float.h>
#include <mtmd-helper.h>
#include <stdlib.h>
#include <string.h>

#define STEP 256                        /* tokens computed at once */
#define MOST_CELLS (UINT32_C(1) << 24)  /* far above any model's context */
#define LOGITS_BYTES ((size_t)16 << 20) /* of one feed, if that is enough for LEAST_WANTED */
#define LEAST_WANTED 32
#define CELLS_STEP 256 /* what llama.cpp rounds up to */

struct sequence {
    size_t n_tokens, n_seen; /* all, and those up to the latest picture's end */
    llama_pos next;          /* position of the next token: pictures may take fewer positions than tokens */
};

struct lq_lane {
    struct lq_runtime *rt;
    struct lq_log log;
    struct llama_context *context;
    struct llama_batch batch;
    struct sequence sequences[LQ_LANE_SEQUENCES];
    uint32_t n_sequences;
    size_t most, most_wanted;
    size_t n_fed; /* items of the latest feed */
};

static enum lq_status check(const struct lq_lane_options *options, struct lq_error *err)
{
    if (options->sequences == 0 || options->sequences > LQ_LANE_SEQUENCES)
        return lq_error_set(err, LQ_ERR_USAGE, "%u sequences in one lane; 1 to %d are possible", options->sequences,
                            LQ_LANE_SEQUENCES);
    if (options->cells == 0 || options->cells > MOST_CELLS || options->together > MOST_CELLS)
        return lq_error_set(err, LQ_ERR_USAGE, "a lane of %u cells for pictures of %u; 1 to %u are possible",
                            options->cells, options->together, MOST_CELLS);
    return LQ_OK;
}

static uint32_t round_up(uint32_t n)
{
    return (n + CELLS_STEP - 1) / CELLS_STEP * CELLS_STEP;
}

/* Pictures that see themselves whole must be decoded at once. */
static bool is_whole(const struct lq_runtime *rt)
{
    return mtmd_decode_use_non_causal(rt->vision, NULL);
}

/* Fewer rows for a large vocabulary; llama.cpp insists on one per sequence. */
static size_t choose_wanted(const struct lq_lane *lane)
{
    size_t least = lane->n_sequences > LEAST_WANTED ? lane->n_sequences : LEAST_WANTED;
    size_t n = LOGITS_BYTES / ((size_t)llama_vocab_n_tokens(lane->rt->vocab) * sizeof(float));
    if (n < least) n = least;
    return n < lane->most ? n : lane->most;
}

static enum lq_status make_context(struct lq_lane *lane, const struct lq_lane_options *options, struct lq_error *err)
{
    struct lq_runtime *rt = lane->rt;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = round_up(options->cells > STEP ? options->cells : STEP);
    lane->most = is_whole(rt) && options->together > STEP ? options->together : STEP;
    if (lane->most > params.n_ctx) lane->most = params.n_ctx;
    lane->most_wanted = options->all ? lane->most : choose_wanted(lane);
    params.n_batch = params.n_ubatch = (uint32_t)lane->most;
    params.n_outputs_max = (uint32_t)lane->most_wanted;
    params.n_seq_max = options->sequences;
    params.kv_unified = true;
    params.swa_full = true;
    params.n_threads = params.n_threads_batch = (int32_t)rt->threads;
    params.embeddings = options->all; /* no token is dropped before the last block's feed-forward */
    params.cb_eval = rt->watch != NULL ? lq_watch_node : NULL;
    params.cb_eval_user_data = rt->watch;
    params.abort_callback = lq_runtime_cancelled;
    params.abort_callback_data = &rt->hooks;
    params.no_perf = true;
    lane->context = llama_init_from_model(rt->model, params);
    if (lane->context == NULL)
        return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot make a context of %u tokens: %s", rt->language,
                            params.n_ctx, lq_log_reason(&lane->log));
    llama_attach_threadpool(lane->context, rt->pool, rt->pool);
    return LQ_OK;
}

enum lq_status lq_lane_open(struct lq_lane **out, struct lq_runtime *rt, const struct lq_lane_options *options,
                            struct lq_error *err)
{
    struct lq_usage usage = lq_usage_start(rt);
    enum lq_status status = check(options, err);
    if (status != LQ_OK) return status;
    struct lq_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL) return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a lane");
    lane->rt = rt;
    lane->n_sequences = options->sequences;
    lq_log_begin(&lane->log, &rt->hooks);
    status = make_context(lane, options, err);
    if (status == LQ_OK) lane->batch = llama_batch_init((int32_t)lane->most, 0, 1);
    lq_log_end(&lane->log);
    lq_usage_stop(&usage, rt, 0);
    if (status == LQ_OK) *out = lane;
    else lq_lane_free(lane);
    return status;
}

void lq_lane_free(struct lq_lane *lane)
{
    if (lane == NULL) return;
    struct lq_usage usage = lq_usage_start(lane->rt);
    lq_log_begin(&lane->log, &lane->rt->hooks);
    if (lane->context != NULL) llama_free(lane->context);
    if (lane->batch.token != NULL) llama_batch_free(lane->batch);
    lq_log_end(&lane->log);
    lq_usage_stop(&usage, lane->rt, 0);
    free(lane);
}

size_t lq_lane_most(const struct lq_lane *lane)
{
    return lane->most;
}

size_t lq_lane_most_wanted(const struct lq_lane *lane)
{
    return lane->most_wanted;
}

uint32_t lq_lane_cells(const struct lq_lane *lane)
{
    return llama_n_ctx(lane->context);
}

void lq_lane_clear(struct lq_lane *lane)
{
    llama_memory_clear(llama_get_memory(lane->context), false);
    memset(lane->sequences, 0, sizeof lane->sequences);
    lane->n_fed = 0;
}

void lq_lane_drop(struct lq_lane *lane, uint32_t sequence)
{
    if (sequence >= lane->n_sequences) return;
    llama_memory_seq_rm(llama_get_memory(lane->context), (llama_seq_id)sequence, -1, -1);
    lane->sequences[sequence] = (struct sequence){0};
    lane->n_fed = 0;
}

size_t lq_lane_length(const struct lq_lane *lane, uint32_t sequence)
{
    return sequence < lane->n_sequences ? lane->sequences[sequence].n_tokens : 0;
}

static enum lq_status check_sequence(const struct lq_lane *lane, uint32_t sequence, struct lq_error *err)
{
    if (sequence < lane->n_sequences) return LQ_OK;
    return lq_error_set(err, LQ_ERR_USAGE, "sequence %u in a lane of %u", sequence, lane->n_sequences);
}

static enum lq_status check_items(const struct lq_lane *lane, const struct lq_lane_item *items, size_t n,
                                  struct lq_error *err)
{
    size_t n_wanted = 0;
    enum lq_status status = LQ_OK;
    if (n > lane->most)
        return lq_error_set(err, LQ_ERR_USAGE, "%zu tokens fed at once; at most %zu are possible", n, lane->most);
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        n_wanted += items[i].wanted;
        status = check_sequence(lane, items[i].sequence, err);
        if (items[i].token < 0 || items[i].token >= llama_vocab_n_tokens(lane->rt->vocab))
            return lq_error_set(err, LQ_ERR_USAGE, "%s: token %d in a vocabulary of %d", lane->rt->language,
                                items[i].token, llama_vocab_n_tokens(lane->rt->vocab));
    }
    if (status == LQ_OK && n_wanted > lane->most_wanted)
        status = lq_error_set(err, LQ_ERR_USAGE, "logits of %zu tokens wanted at once; at most %zu are possible",
                              n_wanted, lane->most_wanted);
    return status;
}

static void fill(struct lq_lane *lane, const struct lq_lane_item *items, size_t n)
{
    lane->batch.n_tokens = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        struct sequence *s = &lane->sequences[items[i].sequence];
        lane->batch.token[i] = items[i].token;
        lane->batch.pos[i] = s->next++;
        lane->batch.n_seq_id[i] = 1;
        lane->batch.seq_id[i][0] = (llama_seq_id)items[i].sequence;
        lane->batch.logits[i] = items[i].wanted;
        s->n_tokens++;
    }
}

/* What llama.cpp answered to a decode. */
static enum lq_status decoded(const struct lq_lane *lane, int32_t answer, size_t n, struct lq_error *err)
{
    const struct lq_runtime *rt = lane->rt;
    if (answer == 0) return LQ_OK;
    if (answer == 1)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: %zu more tokens do not fit into the %u cells of the context",
                            rt->language, n, lq_lane_cells(lane));
    if (answer == 2 || lq_runtime_cancelled(&lane->rt->hooks)) return lq_error_set(err, LQ_ERR_CANCELLED, "cancelled");
    return lq_error_set(err, LQ_ERR_RUNTIME, "%s: llama.cpp cannot decode (%d): %s", rt->language, answer,
                        lq_log_reason(&lane->log));
}

/* Damaged weights give NaN, which would pass through all that is computed from logits. */
static enum lq_status check_logits(const struct lq_lane *lane, struct lq_error *err)
{
    int32_t n_vocab = llama_vocab_n_tokens(lane->rt->vocab);
    for (size_t i = 0; i < lane->n_fed; i++) {
        if (!lane->batch.logits[i]) continue;
        const float *row = lq_lane_logits(lane, i);
        if (row == NULL) return lq_error_set(err, LQ_ERR_RUNTIME, "%s: the model gives no logits", lane->rt->language);
        bool bad = false;
        for (int32_t k = 0; k < n_vocab; k++) bad |= !(row[k] <= FLT_MAX);
        if (bad)
            return lq_error_set(err, LQ_ERR_RUNTIME, "%s: the model computes NaN or infinity: its weights are damaged",
                                lane->rt->language);
    }
    return LQ_OK;
}

static enum lq_status decode(struct lq_lane *lane, size_t n, struct lq_error *err)
{
    struct lq_usage usage = lq_usage_start(lane->rt);
    lq_log_begin(&lane->log, &lane->rt->hooks);
    enum lq_status status = decoded(lane, llama_decode(lane->context, lane->batch), n, err);
    lq_log_end(&lane->log);
    lane->rt->used.token_seconds += lq_usage_stop(&usage, lane->rt, 0);
    if (status != LQ_OK) return status;
    lane->rt->used.tokens += n;
    lane->n_fed = n;
    status = lq_watch_check(lane->rt->watch, err);
    return status == LQ_OK ? check_logits(lane, err) : status;
}

enum lq_status lq_lane_feed(struct lq_lane *lane, const struct lq_lane_item *items, size_t n, struct lq_error *err)
{
    struct sequence before[LQ_LANE_SEQUENCES];
    lane->n_fed = 0;
    enum lq_status status = check_items(lane, items, n, err);
    if (status != LQ_OK || n == 0) return status;
    memcpy(before, lane->sequences, sizeof before);
    fill(lane, items, n);
    status = decode(lane, n, err);
    if (status == LQ_ERR_USAGE) memcpy(lane->sequences, before, sizeof before);
    else if (status != LQ_OK) lq_lane_clear(lane);
    return status;
}

/* The marks that some models have around a picture. */
static enum lq_status show_marks(struct lq_lane *lane, uint32_t sequence, const mtmd_input_chunk *chunk,
                                 struct lq_error *err)
{
    size_t n = 0;
    const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
    enum lq_status status = LQ_OK;
    for (size_t i = 0; i < n && status == LQ_OK; i++)
        status = lq_lane_feed(lane, &(struct lq_lane_item){.token = tokens[i], .sequence = sequence}, 1, err);
    return status;
}

static enum lq_status show_rows(struct lq_lane *lane, uint32_t sequence, const mtmd_input_chunk *chunk, float *rows,
                                struct lq_error *err)
{
    struct lq_runtime *rt = lane->rt;
    struct sequence *s = &lane->sequences[sequence];
    size_t n = mtmd_input_chunk_get_n_tokens(chunk), at_once = lane->most;
    if (n > at_once && n % at_once == 1) at_once--; /* else one would be decoded alone */
    struct lq_usage usage = lq_usage_start(rt);
    lq_log_begin(&lane->log, &rt->hooks);
    int32_t answer = mtmd_helper_decode_image_chunk(rt->vision, lane->context, chunk, rows, s->next,
                                                    (llama_seq_id)sequence, (int32_t)at_once, &s->next, NULL, NULL);
    enum lq_status status = decoded(lane, answer, n, err);
    lq_log_end(&lane->log);
    rt->used.token_seconds += lq_usage_stop(&usage, rt, 0);
    if (status != LQ_OK) return status;
    rt->used.tokens += n;
    s->n_tokens += n;
    return lq_watch_check(rt->watch, err);
}

bool lq_lane_takes(const struct lq_lane *lane, const struct lq_view *view)
{
    return !is_whole(lane->rt) || view->n_largest <= lane->most;
}

static enum lq_status check_view(const struct lq_lane *lane, uint32_t sequence, const struct lq_view *view,
                                 struct lq_error *err)
{
    size_t width = (size_t)llama_model_n_embd_inp(lane->rt->model);
    if (view->width != width)
        return lq_error_set(err, LQ_ERR_USAGE, "%s: the projector of %s is %zu wide, the model takes %zu",
                            lane->rt->language, view->mmproj, view->width, width);
    if (!lq_lane_takes(lane, view))
        return lq_error_set(err, LQ_ERR_USAGE, "%s: a picture of %zu tokens in a lane for at most %zu",
                            lane->rt->language, view->n_largest, lane->most);
    return check_sequence(lane, sequence, err);
}

enum lq_status lq_lane_show(struct lq_lane *lane, uint32_t sequence, const struct lq_view *view, struct lq_error *err)
{
    float *rows = view->embeddings;
    lane->n_fed = 0;
    enum lq_status status = check_view(lane, sequence, view, err);
    for (size_t i = 0; i < view->n_chunks && status == LQ_OK; i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(view->chunks, i);
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
            status = show_marks(lane, sequence, chunk, err);
        } else {
            status = show_rows(lane, sequence, chunk, rows, err);
            rows += mtmd_input_chunk_get_n_tokens(chunk) * view->width;
        }
    }
    lane->n_fed = 0;
    if (status == LQ_OK) lane->sequences[sequence].n_seen = lane->sequences[sequence].n_tokens;
    else if (status == LQ_ERR_USAGE) lq_lane_drop(lane, sequence);
    else lq_lane_clear(lane);
    return status;
}

const float *lq_lane_logits(const struct lq_lane *lane, size_t i)
{
    if (i >= lane->n_fed || !lane->batch.logits[i]) return NULL;
    return llama_get_logits_ith(lane->context, (int32_t)i);
}

/* False where the model no longer keeps what stood before `length`: recurrent ones have but one state, and behind a
 * sliding window llama.cpp may give cells to other tokens. */
static bool keeps_all(const struct lq_lane *lane, const struct sequence *s)
{
    const struct llama_model *model = lane->rt->model;
    int32_t window = llama_model_n_swa(model);
    return !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model) && (window == 0 || s->next < window);
}

static enum lq_status check_fork(const struct lq_lane *lane, uint32_t from, uint32_t to, size_t length,
                                 struct lq_error *err)
{
    enum lq_status status = check_sequence(lane, from, err);
    if (status == LQ_OK) status = check_sequence(lane, to, err);
    if (status != LQ_OK) return status;
    const struct sequence *s = &lane->sequences[from];
    if (lane->sequences[to].n_tokens != 0)
        return lq_error_set(err, LQ_ERR_USAGE, "sequence %u is not empty (%zu tokens)", to,
                            lane->sequences[to].n_tokens);
    if (length > s->n_tokens || length < s->n_seen)
        return lq_error_set(err, LQ_ERR_USAGE, "sequence %u forked at %zu: its tokens end at %zu, its picture at %zu",
                            from, length, s->n_tokens, s->n_seen);
    if (length < s->n_tokens && !keeps_all(lane, s))
        return lq_error_set(err, LQ_ERR_UNSUPPORTED,
                            "%s: the model does not keep the first %zu of %zu tokens apart; only all can be forked",
                            lane->rt->language, length, s->n_tokens);
    return LQ_OK;
}

enum lq_status lq_lane_fork(struct lq_lane *lane, uint32_t from, uint32_t to, size_t length, struct lq_error *err)
{
    enum lq_status status = check_fork(lane, from, to, length, err);
    if (status != LQ_OK || length == 0) return status;
    const struct sequence *s = &lane->sequences[from];
    llama_pos end = s->next - (llama_pos)(s->n_tokens - length); /* text takes one position a token */
    llama_memory_seq_cp(llama_get_memory(lane->context), (llama_seq_id)from, (llama_seq_id)to, -1,
                        length == s->n_tokens ? -1 : end);
    lane->sequences[to] = (struct sequence){.n_tokens = length, .n_seen = s->n_seen, .next = end};
    return LQ_OK;
}

size_t lq_runtime_vocabulary(const struct lq_runtime *rt)
{
    return (size_t)llama_vocab_n_tokens(rt->vocab);
}

size_t lq_runtime_trained_context(const struct lq_runtime *rt)
{
    return (size_t)llama_model_n_ctx_train(rt->model);
}

bool lq_runtime_is_end(const struct lq_runtime *rt, int32_t token)
{
    return llama_vocab_is_eog(rt->vocab, token);
}
