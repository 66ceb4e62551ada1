/* Everything the library offers, room by room. */
#ifndef LLAVA_QUANTIZE_H
#define LLAVA_QUANTIZE_H
#include "llava_quantize/base.h"
#include "llava_quantize/bench.h"
#include "llava_quantize/calibrate.h"
#include "llava_quantize/codec.h"
#include "llava_quantize/dataset.h"
#include "llava_quantize/evaluate.h"
#include "llava_quantize/gather.h"
#include "llava_quantize/inspect.h"
#include "llava_quantize/model.h"
#include "llava_quantize/plan.h"
#include "llava_quantize/quantize.h"
#include "llava_quantize/report.h"
#include "llava_quantize/runtime.h"
#include "llava_quantize/strategy.h"
#include "llava_quantize/verify.h"
#endif
