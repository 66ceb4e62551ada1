/* The specification: the kernels' text with one lane. */
#include "codec/lanes_scalar.h"

#define LQ_ISA scalar
#include "codec/kernels_body.h"
