"""Make the proxy of one upload: a film that any browser can play."""

from cutmv.jobs import FILM_OF_PROXY, PROXY, derivative_key
from cutmv.media import Proxy, plan_proxy, proxy_limit_s, render
from cutmv.worker.derivative import DerivativeRun
from cutmv.worker.workspace import work_folder


class ProxyRun(DerivativeRun[Proxy]):
    """One attempt at the proxy of an upload."""

    kind = PROXY

    def make(self) -> Proxy:
        """Encode all of the video, small, and store it; raises as `render`, and NoSpace."""
        services, info = self.services, self.upload.info
        services.room.require()
        with work_folder(services.settings.data_dir) as folder:
            made = folder / "proxy.mp4"
            rendered = render(
                services.storage.source(self.upload.key),
                plan_proxy(info),
                made,
                on_progress=lambda progress: self.progressed(progress.percent),
                cancelled=self.cancelled,
                timeout_s=proxy_limit_s(info),
                cache=services.cache,
            )
            key = derivative_key(self.upload, FILM_OF_PROXY)
            services.storage.put_file(key, made, content_type="video/mp4")
        return Proxy(rendered.width, rendered.height, rendered.size_bytes)
