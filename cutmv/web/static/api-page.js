// The interactive page of the API: Swagger UI, which asks as the page does.

import { CSRF_TOKEN } from "./api.js";
import { $ } from "./elements.js";

const main = $("api");

SwaggerUIBundle({
  url: main.dataset.document,
  domNode: main,
  deepLinking: true,
  validatorUrl: null, // which would be asked at another site
  requestInterceptor: (request) => {
    if (CSRF_TOKEN) request.headers["X-CSRF-Token"] = CSRF_TOKEN;
    return request;
  },
});
