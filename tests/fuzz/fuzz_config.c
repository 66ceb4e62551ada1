/* config.json from anywhere: sizes that the importer may multiply, or a message. */
#include "model/hf_config.h"
#include "model/json_keys.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL;
    struct lq_hf_config c;
    struct lq_error err = {0};
    if (lq_json_parse((const char *)data, size, "config.json", &root, &err) != LQ_OK) return 0;
    if (lq_hf_config_read(&c, root, "config.json", &err) == LQ_OK) {
        if (c.heads % c.kv_heads != 0 || c.head_dim % 2 != 0 || c.feature_layer > c.v_blocks || c.v_kept == 0) abort();
        if (c.bos != LQ_HF_NO_TOKEN && c.bos >= c.vocab) abort();
    } else if (err.message[0] == '\0') {
        abort();
    }
    json_decref(root);
    return 0;
}
