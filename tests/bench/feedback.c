/* How long error feedback takes beside plain encoding and the arithmetic that it cannot do without.
 *
 *     bench_feedback [COLUMNS [TYPE [ROWS]]]      4096 q4_k 4096; one thread, processor time, the best of three
 *
 * "At least" is the arithmetic's lower bound: its products at the speed of one large call of BLAS with a tile's rows. */
#include "base/blas.h"
#include "codec/encode.h"
#include "quantize/feedback.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 3, PANEL = 256 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *floats(size_t n)
{
    float *p = calloc(n, sizeof *p);
    if (p == NULL) exit(1);
    return p;
}

/* Products per second of a panel by everything behind it, for a tile. */
static double sgemm_speed(size_t n)
{
    enum { ROWS = 2 * LQ_FEEDBACK_ROWS };
    float *a = floats(PANEL * n), *b = floats(n * ROWS), *c = floats((size_t)PANEL * ROWS);
    double best = 1e9;
    for (int turn = 0; turn < 10 * TURNS; turn++) {
        double start = now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, PANEL, ROWS, (int)n, 1, a, (int)n, b, ROWS, 0, c, ROWS);
        double took = now() - start;
        best = took < best ? took : best;
    }
    free(a);
    free(b);
    free(c);
    return (double)PANEL * ROWS * (double)n / best;
}

static double dgemm_speed(size_t n)
{
    double *a = calloc(n * PANEL, sizeof *a), *c = calloc(n * PANEL, sizeof *c), best = 1e9;
    if (a == NULL || c == NULL) exit(1);
    for (int turn = 0; turn < 3 * TURNS; turn++) {
        double start = now();
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, PANEL, PANEL, -1, a, PANEL, a, PANEL, 1, c, PANEL);
        double took = now() - start;
        best = took < best ? took : best;
    }
    free(a);
    free(c);
    return (double)n * PANEL * PANEL / best;
}

/* The linker sends the library's calls of BLAS here. Of two looks at the clock one is in them, one outside. */
static double in_blas;
static size_t calls;

/* Seconds that one look takes. */
static double clock_cost(void)
{
    enum { LOOKS = 20000 };
    double best = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        double start = now();
        for (int i = 1; i < LOOKS; i++) now();
        double took = (now() - start) / LOOKS;
        best = took < best ? took : best;
    }
    return best;
}

#define GEMM(name, number) \
    void __real_##name(CBLAS_ORDER, CBLAS_TRANSPOSE, CBLAS_TRANSPOSE, int, int, int, number, const number *, int, \
                       const number *, int, number, number *, int); \
    void __wrap_##name(CBLAS_ORDER order, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, number alpha, \
                       const number *a, int lda, const number *b, int ldb, number beta, number *c, int ldc); \
    void __wrap_##name(CBLAS_ORDER order, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, number alpha, \
                       const number *a, int lda, const number *b, int ldb, number beta, number *c, int ldc) \
    { \
        double start = now(); \
        __real_##name(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); \
        in_blas += now() - start; \
        calls++; \
    }
#define TRSM(name, number) \
    void __real_##name(CBLAS_ORDER, CBLAS_SIDE, CBLAS_UPLO, CBLAS_TRANSPOSE, CBLAS_DIAG, int, int, number, \
                       const number *, int, number *, int); \
    void __wrap_##name(CBLAS_ORDER order, CBLAS_SIDE side, CBLAS_UPLO up, CBLAS_TRANSPOSE t, CBLAS_DIAG d, int m, \
                       int n, number alpha, const number *a, int lda, number *b, int ldb); \
    void __wrap_##name(CBLAS_ORDER order, CBLAS_SIDE side, CBLAS_UPLO up, CBLAS_TRANSPOSE t, CBLAS_DIAG d, int m, \
                       int n, number alpha, const number *a, int lda, number *b, int ldb) \
    { \
        double start = now(); \
        __real_##name(order, side, up, t, d, m, n, alpha, a, lda, b, ldb); \
        in_blas += now() - start; \
        calls++; \
    }
GEMM(cblas_sgemm, float)
GEMM(cblas_dgemm, double)
TRSM(cblas_strsm, float)
TRSM(cblas_dtrsm, double)

/* Random weights; inputs whose neighbours resemble one another. */
static void fill(float *w, size_t weights, float *hessian, size_t n)
{
    for (size_t i = 0; i < weights; i++) w[i] = ((float)rand() - (float)rand()) / (float)RAND_MAX;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) *hessian++ = 1 / (1 + 0.01f * (float)(i - j));
}

/* Seconds, without looking at the clock. */
struct run {
    double took, in_blas, outside;
};

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? (size_t)atol(argv[1]) : 4096, rows = argc > 3 ? (size_t)atol(argv[3]) : 4096;
    const struct lq_format *f = lq_format_find(argc > 2 ? argv[2] : "q4_k");
    if (f == NULL || n < PANEL || n % PANEL != 0 || rows == 0) return 2;
    float *w = floats(n * rows), *hessian = floats(n * (n + 1) / 2), *scratch = floats(lq_feedback_scratch(n));
    uint8_t *coded = malloc(rows * lq_format_row_bytes(f->type, n));
    struct lq_factor *factor = NULL;
    struct lq_error err = {0};
    struct lq_factor_terms terms = {n, n, 1, 0, 0.01, f->block > 32 ? PANEL : 32, 1, NULL};
    double area = (double)rows * (double)n, plain = 1e9, start;
    fill(w, n * rows, hessian, n);
    lq_blas_prepare();
    double sgemm = sgemm_speed(n), dgemm = dgemm_speed(n), look = clock_cost();
    for (int turn = 0; turn < TURNS && coded != NULL; turn++) {
        start = now();
        lq_codec_encode(f->type, w, rows, n, NULL, LQ_EFFORT_NORMAL, coded, &err);
        plain = now() - start < plain ? now() - start : plain;
    }
    in_blas = 0;
    start = now();
    if (coded == NULL || lq_factor_make(&factor, hessian, &terms, &err) != LQ_OK) return 1;
    double cube = (double)n * (double)n * (double)n / 6 / dgemm;
    printf("plain encoding %.3f s; factor %.3f s, in BLAS %.3f s (at least %.3f s)\n", plain, now() - start, in_blas,
           cube);
    for (int effort = LQ_EFFORT_FAST; effort >= LQ_EFFORT_NORMAL; effort--) {
        /* products with L, for some rows encoded plainly as well; the panels' own squares; the closing round's
         * products with L, both ways */
        double beside = 0.125, half = 0.5 * (double)n, products = area * ((1 + beside) * half + 1.6 * PANEL);
        if (effort == LQ_EFFORT_NORMAL) products += area * ((double)n + 3.5 * PANEL);
        struct run best = {0, 0, 1e9};
        struct lq_feedback_outcome outcome;
        for (int turn = 0; turn < TURNS; turn++) {
            struct run run = {.outside = 0};
            in_blas = 0;
            calls = 0;
            start = now();
            if (lq_feedback_encode(factor, f->type, w, rows, (enum lq_effort)effort, scratch, coded, &outcome, &err) !=
                LQ_OK)
                return 1;
            run.took = now() - start - 2 * look * (double)calls;
            run.in_blas = in_blas - look * (double)calls;
            run.outside = run.took - run.in_blas;
            if (run.outside < best.outside) best = run;
        }
        printf("feedback, %s: %.3f s, in BLAS %.3f s (at least %.3f s), outside of it %.2f times plain (bound 3); "
               "loss %.4g, plainly %.4g\n",
               lq_effort_name((enum lq_effort)effort), best.took, best.in_blas, products / sgemm, best.outside / plain,
               outcome.written, outcome.plain);
    }
    lq_factor_free(factor);
    free(w);
    free(hessian);
    free(scratch);
    free(coded);
    return 0;
}
