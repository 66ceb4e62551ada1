/* The text of the kernels, included once per instruction set by kernels_<isa>.c, which includes before the lanes of that
 * instruction set (lanes_<isa>.h) and defines LQ_ISA, a suffix.
 *
 * What is not written in lanes are loops that a compiler can spread over vector registers without changing any result:
 * sums run in a fixed number of places, and nothing is contracted (-ffp-contract=off). */
#include "codec/half.h"
#include "codec/kernels.h"

#include "codec/convert_rows.h"
#include "codec/measure_rows.h"
#include "codec/decode_blocks.h"
#include "codec/tile.h"
#include "codec/encode_scale.h"
#include "codec/encode_q8_0.h"
#include "codec/encode_scale_super.h"
#include "codec/encode_mxfp4.h"
#include "codec/encode_affine.h"
#include "codec/encode_affine_super.h"
#include "codec/rows_abreast.h"

#define LQ_TABLE_OF(isa) LQ_TABLE_OF_(isa)
#define LQ_TABLE_OF_(isa) lq_kernels_##isa
#define LQ_STRING(isa) LQ_STRING_(isa)
#define LQ_STRING_(isa) #isa
#define LQ_ENTRY(kernel, arguments) .kernel = kernel,
#define LQ_ENCODER(type, kernel) [LQ_TYPE_##type] = kernel##_encode,
#define LQ_DECODER(type, kernel) [LQ_TYPE_##type] = kernel##_decode,
const struct lq_kernel_table LQ_TABLE_OF(LQ_ISA) = {.name = LQ_STRING(LQ_ISA),
                                                    .encode = {LQ_BLOCK_FORMATS(LQ_ENCODER)},
                                                    .decode = {LQ_BLOCK_FORMATS(LQ_DECODER)},
                                                    LQ_KERNELS(LQ_ENTRY) LQ_ABREAST_KERNELS(LQ_ENTRY)};
