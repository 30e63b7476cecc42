// The interactive page of the API: Swagger UI, which asks as the page does.

const TOKEN = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";
const main = document.getElementById("api");

SwaggerUIBundle({
  url: main.dataset.document,
  domNode: main,
  deepLinking: true,
  validatorUrl: null, // which would be asked at another site
  requestInterceptor: (request) => {
    if (TOKEN) request.headers["X-CSRF-Token"] = TOKEN;
    return request;
  },
});
