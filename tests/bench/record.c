/* Writes down what a program asks of llama.cpp, so that replay.c can ask the same again.
 *
 *     LD_PRELOAD=libbench_record.so LQ_TRACE=trace llava-quantize eval ...
 *
 * Enters: calls of llama.cpp's C API. Leaves: one line for each in the file that LQ_TRACE names, objects by the number
 * in which they were made:
 *
 *     M PATH                                          a language model
 *     C MODEL n_ctx n_batch n_seq_max n_outputs_max n_threads
 *     F CONTEXT                                       freed
 *     V MODEL n_threads PATH                          a vision half
 *     E VISION                                        a picture encoded
 *     Z CONTEXT    R CONTEXT sequence from to    K CONTEXT sequence other from to
 *     P CONTEXT vision position sequence n_batch      a picture's embeddings decoded
 *     D CONTEXT n                                     a batch, then for each item: token position sequence wanted
 */
#include <dlfcn.h>
#include <llama.h>
#include <mtmd-helper.h>
#include <mtmd.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 4096 };

/* Objects in the order in which they were made. */
struct list {
    const void *items[MOST];
    int n;
};

static struct list models, contexts, visions;

static FILE *trace(void)
{
    static FILE *out;
    if (out == NULL) out = fopen(getenv("LQ_TRACE"), "w");
    if (out == NULL) abort();
    return out;
}

static void add(struct list *list, const void *item)
{
    if (list->n == MOST) abort();
    list->items[list->n++] = item;
}

/* The latest of that address: freed ones may share it. */
static int number(const struct list *list, const void *item)
{
    int i = list->n - 1;
    while (i >= 0 && list->items[i] != item) i--;
    return i;
}

static int context_of(llama_memory_t memory)
{
    int i = contexts.n - 1;
    while (i >= 0 && (contexts.items[i] == NULL || llama_get_memory(contexts.items[i]) != memory)) i--;
    return i;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct llama_model *llama_model_load_from_file(const char *path, struct llama_model_params params)
{
    struct llama_model *model = REAL(llama_model_load_from_file)(path, params);
    add(&models, model);
    fprintf(trace(), "M %s\n", path);
    return model;
}

struct llama_context *llama_init_from_model(struct llama_model *model, struct llama_context_params p)
{
    struct llama_context *context = REAL(llama_init_from_model)(model, p);
    add(&contexts, context);
    fprintf(trace(), "C %d %u %u %u %u %d\n", number(&models, model), p.n_ctx, p.n_batch, p.n_seq_max, p.n_outputs_max,
            p.n_threads);
    return context;
}

void llama_free(struct llama_context *context)
{
    int i = number(&contexts, context);
    fprintf(trace(), "F %d\n", i);
    contexts.items[i] = NULL;
    REAL(llama_free)(context);
}

mtmd_context *mtmd_init_from_file(const char *path, const struct llama_model *model, const struct mtmd_context_params p)
{
    mtmd_context *vision = REAL(mtmd_init_from_file)(path, model, p);
    add(&visions, vision);
    fprintf(trace(), "V %d %d %s\n", number(&models, model), p.n_threads, path);
    return vision;
}

int32_t mtmd_encode_chunk(mtmd_context *vision, const mtmd_input_chunk *chunk)
{
    fprintf(trace(), "E %d\n", number(&visions, vision));
    return REAL(mtmd_encode_chunk)(vision, chunk);
}

void llama_memory_clear(llama_memory_t memory, bool data)
{
    fprintf(trace(), "Z %d\n", context_of(memory));
    REAL(llama_memory_clear)(memory, data);
}

bool llama_memory_seq_rm(llama_memory_t memory, llama_seq_id sequence, llama_pos from, llama_pos to)
{
    fprintf(trace(), "R %d %d %d %d\n", context_of(memory), sequence, from, to);
    return REAL(llama_memory_seq_rm)(memory, sequence, from, to);
}

void llama_memory_seq_cp(llama_memory_t memory, llama_seq_id sequence, llama_seq_id other, llama_pos from, llama_pos to)
{
    fprintf(trace(), "K %d %d %d %d %d\n", context_of(memory), sequence, other, from, to);
    REAL(llama_memory_seq_cp)(memory, sequence, other, from, to);
}

int32_t mtmd_helper_decode_image_chunk(mtmd_context *vision, struct llama_context *context,
                                       const mtmd_input_chunk *chunk, float *rows, llama_pos position,
                                       llama_seq_id sequence, int32_t n_batch, llama_pos *next,
                                       mtmd_helper_post_decode_callback callback, void *data)
{
    fprintf(trace(), "P %d %d %d %d %d\n", number(&contexts, context), number(&visions, vision), position, sequence,
            n_batch);
    return REAL(mtmd_helper_decode_image_chunk)(vision, context, chunk, rows, position, sequence, n_batch, next,
                                                callback, data);
}

int32_t llama_decode(struct llama_context *context, struct llama_batch b)
{
    fprintf(trace(), "D %d %d\n", number(&contexts, context), b.n_tokens);
    for (int32_t i = 0; i < b.n_tokens; i++)
        fprintf(trace(), "%d %d %d %d\n", b.token[i], b.pos[i], b.seq_id[i][0], b.logits[i]);
    return REAL(llama_decode)(context, b);
}
