/* BLAS, one thread per call: our pool divides the work, over a partition that does not depend on its threads.
 *
 * Enters: nothing. Leaves: cblas_*, as OpenBLAS has them, safe to call from several threads at a time.
 * Invariants: a call gives the same bits whatever the number of threads, on one kind of CPU. OpenBLAS chooses its inner
 * loops by CPU and by the shapes of a call, so the bits of one row may differ with its place
 * among others, and with how many there are.
 *
 *     lq_blas_prepare();
 *     cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a, k, b, n, 0, c, n);
 */
#ifndef LQ_BASE_BLAS_H
#define LQ_BASE_BLAS_H

#include <cblas.h>

/* Before the first call of a run. OpenBLAS's own threads are put to sleep for the whole process. Thread-safe. */
void lq_blas_prepare(void);

#endif
