/* The page's style and script: page.css, dark.css and page.js, turned into C by cmake/embed.cmake. */
#ifndef LQ_REPORT_ASSETS_H
#define LQ_REPORT_ASSETS_H

#include <stddef.h>

struct lq_asset {
    const unsigned char *bytes;
    size_t size;
};

extern const struct lq_asset lq_asset_page_css, lq_asset_dark_css, lq_asset_page_js;

#endif
