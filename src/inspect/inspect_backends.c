#include "inspect/inspect_backends.h"

#define CUDA_SUPPORT "ggml-cuda/ggml-cuda.cu: ggml_backend_cuda_device_supports_op, GGML_OP_MUL_MAT"
#define METAL_SUPPORT "ggml-metal/ggml-metal-device.m: ggml_metal_supports_mul_mat_op"
#define NO_KERNEL(backend) backend " has no kernel that multiplies by it, so these products are left to the CPU"
#define TERNARY_REMEDY "use q2_k or q4_k there, or run on the CPU"

/* The CPU backend multiplies by every type that can be written (ggml-cpu/ggml-cpu.cpp,
 * ggml_backend_cpu_device_supports_op), so it has no row here. */
static const struct lq_backend_quirk quirks[] = {
    {LQ_BACKEND_CUDA, LQ_TYPE_TQ1_0, NO_KERNEL("CUDA"), TERNARY_REMEDY, CUDA_SUPPORT},
    {LQ_BACKEND_CUDA, LQ_TYPE_TQ2_0, NO_KERNEL("CUDA"), TERNARY_REMEDY, CUDA_SUPPORT},
    {LQ_BACKEND_METAL, LQ_TYPE_TQ1_0, NO_KERNEL("Metal"), "use tq2_0, q2_k or q4_k there, or run on the CPU",
     METAL_SUPPORT},
    {LQ_BACKEND_METAL, LQ_TYPE_NVFP4, NO_KERNEL("Metal"), "use mxfp4 or q4_k there, or run on the CPU", METAL_SUPPORT},
    {LQ_BACKEND_METAL, LQ_TYPE_BF16,
     "GPUs before the Apple6 and Metal3 families have no bfloat, so these products are left to the CPU",
     "use f16, or f32 where a weight exceeds 65504", "ggml-metal/ggml-metal-device.m: ggml_metal_device_supports_op"},
    {LQ_BACKEND_VULKAN, LQ_TYPE_BF16,
     "Vulkan rounds the activations to bf16 too, 8 bits of precision, wherever more than a few tokens are multiplied "
     "at once",
     "use f16, or f32 where a weight exceeds 65504", "ggml-vulkan/ggml-vulkan.cpp: ggml_vk_mul_mat_q_f16, f16_type"},
};

const struct lq_backend_quirk *lq_backend_quirk_at(size_t i)
{
    return i < sizeof quirks / sizeof quirks[0] ? &quirks[i] : NULL;
}
