/* Lists what a model's tensors do, and how many bytes each role takes. Opening a model reads headers only.
 *
 *     cc inspect.c $(pkg-config --cflags --libs llava_quantize) -o inspect
 *     ./inspect llava-1.5-7b-hf
 */
#include <llava_quantize.h>

#include <inttypes.h>
#include <stdio.h>

static void print_half(const struct lq_model_half *half)
{
    uint64_t bytes[LQ_ROLES] = {0};
    size_t tensors[LQ_ROLES] = {0};
    for (size_t i = 0; i < half->n_tensors; i++) {
        bytes[half->tensors[i].role] += half->tensors[i].bytes;
        tensors[half->tensors[i].role]++;
    }
    printf("%s: %s, %zu tensors\n", half->path, half->architecture, half->n_tensors);
    for (int role = 0; role < LQ_ROLES; role++)
        if (tensors[role] != 0)
            printf("  %-24s %4zu tensors %12" PRIu64 " bytes\n", lq_role_name(role), tensors[role], bytes[role]);
}

int main(int argc, char **argv)
{
    struct lq_error err = {0};
    struct lq_model *model = NULL;
    if (argc != 2) return fprintf(stderr, "usage: %s FILE|FOLDER\n", argv[0]), 2;
    if (lq_model_open(&model, argv[1], NULL, &err) != LQ_OK) return fprintf(stderr, "%s\n", err.message), 1;
    for (int half = 0; half < LQ_HALVES; half++)
        if (model->half[half] != NULL) print_half(model->half[half]);
    lq_model_free(model);
    return 0;
}
