/* config.json of a LLaVA-1.5 folder, read with the defaults of the classes that wrote it.
 *
 * Enters: a parsed config.json. Leaves: every number and choice the conversion needs, checked.
 * Invariants: sizes are at least 1 and small enough that products of two do not overflow 64 bits; whatever the runtime
 * would compute differently (an activation, a rotation, several feature layers) has been refused by name.
 */
#ifndef LQ_MODEL_HF_CONFIG_H
#define LQ_MODEL_HF_CONFIG_H

#include <jansson.h>

#include "llava_quantize/base.h"

enum { LQ_HF_NO_TOKEN = UINT32_MAX };

struct lq_hf_config {
    /* language model: LlamaConfig */
    uint32_t hidden, ff, blocks, heads, kv_heads, head_dim, vocab, context;
    float rms_eps, rope_theta, rope_factor; /* rope_factor 0: no scaling */
    bool attention_bias, mlp_bias;
    bool tied;           /* the output matrix is the token embedding */
    bool tied_if_absent; /* so if the folder holds no output matrix (said at the top only, where old files say it in
                            vain) */
    uint32_t bos, eos, pad, image_token; /* LQ_HF_NO_TOKEN: not given */
    /* vision tower: CLIPVisionConfig */
    uint32_t v_hidden, v_ff, v_blocks, v_heads, v_image, v_patch, v_projection;
    float v_eps;
    bool v_gelu;            /* else quick-GELU */
    uint32_t feature_layer; /* blocks run before the projector takes over: 0 .. v_blocks */
    uint32_t v_kept;        /* blocks written: feature_layer, but at least 1 */
};

/* `file` stands in messages. */
enum lq_status lq_hf_config_read(struct lq_hf_config *out, const json_t *root, const char *file, struct lq_error *err);

#endif
