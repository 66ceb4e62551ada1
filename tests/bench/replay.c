/* Does again what record.c wrote down, with nothing but llama.cpp's C API, and prints the seconds that took.
 *
 *     bench_replay TRACE PICTURE
 *
 * Enters: a trace, a picture, which stands for all pictures (the work does not depend on what they show). Leaves:
 * "WALL PROCESSOR" seconds of everything but reading the trace and loading the models.
 */
#include <llama.h>
#include <mtmd-helper.h>
#include <mtmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 4096, LONGEST = 4096 };

/* One line of the trace. */
struct call {
    char what;
    int object, n[5];
    struct llama_batch batch;
};

static struct llama_model *models[MOST];
static struct llama_context *contexts[MOST];
static struct vision {
    mtmd_context *context;
    mtmd_input_chunks *chunks;
    const mtmd_input_chunk *picture; /* the first that is one */
    float *rows;                     /* stand for its embeddings */
} visions[MOST];
static int n_models, n_contexts, n_visions;
static struct call *calls;
static size_t n_calls;

static void need(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "bench_replay: %s\n", what);
    exit(1);
}

static void ignore(enum ggml_log_level level, const char *text, void *data)
{
    (void)level;
    (void)text;
    (void)data;
}

/* ---- reading and loading ---- */

static void load_model(const char *path)
{
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    models[n_models] = llama_model_load_from_file(path, params);
    need(models[n_models++] != NULL, "cannot load a model");
}

static void load_vision(int model, int threads, const char *path, const char *picture)
{
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = params.print_timings = params.warmup = false;
    params.n_threads = threads;
    struct vision *v = &visions[n_visions++];
    v->context = mtmd_init_from_file(path, models[model], params);
    v->chunks = mtmd_input_chunks_init();
    need(v->context != NULL, "cannot load a vision half");
    struct mtmd_helper_bitmap_wrapper loaded =
        mtmd_helper_bitmap_init_from_file(v->context, picture, false, mtmd_helper_init_opt_default());
    const struct mtmd_input_part part = {.bitmap = loaded.bitmap}, *parts[] = {&part};
    need(loaded.bitmap != NULL, "cannot read the picture");
    need(mtmd_tokenize_from_parts(v->context, v->chunks, parts, 1, false) == 0, "cannot prepare the picture");
    mtmd_bitmap_free(loaded.bitmap);
    size_t i = 0;
    while (mtmd_input_chunk_get_type(mtmd_input_chunks_get(v->chunks, i)) == MTMD_INPUT_CHUNK_TYPE_TEXT) i++;
    v->picture = mtmd_input_chunks_get(v->chunks, i);
    size_t n = mtmd_input_chunk_get_n_tokens(v->picture) * (size_t)llama_model_n_embd_inp(models[model]);
    v->rows = calloc(n, sizeof *v->rows);
    need(v->rows != NULL, "no memory");
    for (i = 0; i < n; i++) v->rows[i] = (float)((int)(i % 7) - 3) / 100;
}

static void read_batch(FILE *in, struct call *c)
{
    c->batch = llama_batch_init(c->n[0], 0, 1);
    c->batch.n_tokens = c->n[0];
    for (int i = 0; i < c->n[0]; i++) {
        int wanted;
        need(fscanf(in, "%d %d %d %d\n", &c->batch.token[i], &c->batch.pos[i], &c->batch.seq_id[i][0], &wanted) == 4,
             "bad item");
        c->batch.n_seq_id[i] = 1;
        c->batch.logits[i] = (int8_t)wanted;
    }
}

static void read_trace(const char *path, const char *picture)
{
    char line[LONGEST];
    FILE *in = fopen(path, "r");
    need(in != NULL, "cannot open the trace");
    while (fgets(line, sizeof line, in) != NULL) {
        struct call c = {.what = line[0]};
        int behind = 0;
        line[strcspn(line, "\n")] = '\0';
        if (c.what == 'M') {
            load_model(line + 2);
            continue;
        }
        int n =
            sscanf(line + 1, "%d %d%n %d %d %d %d", &c.object, &c.n[0], &behind, &c.n[1], &c.n[2], &c.n[3], &c.n[4]);
        need(n >= 1, "bad line");
        if (c.what == 'V') {
            load_vision(c.object, c.n[0], line + 1 + behind + 1, picture);
            continue;
        }
        if (c.what == 'D') read_batch(in, &c);
        calls = realloc(calls, (n_calls + 1) * sizeof *calls);
        need(calls != NULL, "no memory");
        calls[n_calls++] = c;
    }
    fclose(in);
}

/* ---- doing ---- */

static void make_context(const struct call *c)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)c->n[0];
    params.n_batch = params.n_ubatch = (uint32_t)c->n[1];
    params.n_seq_max = (uint32_t)c->n[2];
    params.n_outputs_max = (uint32_t)c->n[3];
    params.n_threads = params.n_threads_batch = c->n[4];
    params.kv_unified = params.swa_full = params.no_perf = true;
    contexts[n_contexts] = llama_init_from_model(models[c->object], params);
    need(contexts[n_contexts++] != NULL, "cannot make a context");
}

static void look(const struct vision *v)
{
    need(mtmd_encode_chunk(v->context, v->picture) == 0, "cannot encode the picture");
}

static void show(const struct call *c)
{
    const struct vision *v = &visions[c->n[0]];
    llama_pos next;
    need(mtmd_helper_decode_image_chunk(v->context, contexts[c->object], v->picture, v->rows, c->n[1], c->n[2], c->n[3],
                                        &next, NULL, NULL) == 0,
         "cannot decode the picture");
}

static void decode(const struct call *c)
{
    need(llama_decode(contexts[c->object], c->batch) == 0, "cannot decode");
    llama_synchronize(contexts[c->object]);
}

static void repeat(const struct call *c)
{
    llama_memory_t memory =
        c->what == 'C' || c->what == 'E' || contexts[c->object] == NULL ? NULL : llama_get_memory(contexts[c->object]);
    switch (c->what) {
    case 'C': make_context(c); break;
    case 'E': look(&visions[c->object]); break;
    case 'P': show(c); break;
    case 'F':
        llama_free(contexts[c->object]);
        contexts[c->object] = NULL;
        break;
    case 'Z': llama_memory_clear(memory, false); break;
    case 'R': llama_memory_seq_rm(memory, c->n[0], c->n[1], c->n[2]); break;
    case 'K': llama_memory_seq_cp(memory, c->n[0], c->n[1], c->n[2], c->n[3]); break;
    case 'D': decode(c); break;
    default: need(false, "unknown line");
    }
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    need(argc == 3, "usage: bench_replay TRACE PICTURE");
    llama_log_set(ignore, NULL);
    mtmd_helper_log_set(ignore, NULL);
    ggml_backend_load_all_from_path(LQ_LLAMA_LIBRARIES);
    llama_backend_init();
    read_trace(argv[1], argv[2]);
    double wall = seconds(CLOCK_MONOTONIC), processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < n_calls; i++) repeat(&calls[i]);
    printf("%.6f %.6f\n", seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - processor);
    return 0;
}
