insert into uploads (id, filename, size, content_type, key, info, created_at)
values ('5fb2906007e1973071474dab95223b', 'song.mp4', 49163, 'video/mp4', 'uploads/5fb2906007e1973071474dab95223b/source', '{"container": "mov", "size_bytes": 49163, "duration_s": 3.0, "start_s": 0.0, "video": {"index": 0, "codec": "h264", "width": 160, "height": 90, "coded_width": 160, "coded_height": 90, "rotation": 0, "frame_rate": "30/1", "variable": false, "time_base": "1/15360", "start_s": 0.0, "duration_s": 3.0, "pix_fmt": "yuv420p", "color_range": null, "color_primaries": null, "color_transfer": null, "color_space": null}, "audio": {"index": 1, "codec": "aac", "channels": 1, "sample_rate": 48000}}', 1.79569535857898902896e+09);
insert into jobs (id, upload_id, state, created_at)
values ('c4f855cd6065e970fa7332347fbc1e', '5fb2906007e1973071474dab95223b', 'queued', 1.79569535859898471831e+09);
insert into jobs (id, upload_id, state, created_at)
values ('aa0063d37e094adecab44e7e9ecbc0', '5fb2906007e1973071474dab95223b', 'queued', 1.79569535865000033374e+09);
insert into steps (id, job_id, position, name, clip, start_s, end_s, kind, aspect, fit, state, percent, attempts)
values ('116ef7c8784ca9363b932097d5a1ff', 'c4f855cd6065e970fa7332347fbc1e', 0, 'song-01-source.mp4', '0-1', 0.0, 1.0, 'cutdown', 'source', 'crop', 'queued', 0.0, 0);
insert into steps (id, job_id, position, name, clip, start_s, end_s, kind, aspect, fit, state, percent, attempts)
values ('d7ef699964a0af8b8bc2716beb8400', 'c4f855cd6065e970fa7332347fbc1e', 1, 'song-01-gif.gif', '0-1', 0.0, 1.0, 'gif', 'source', 'crop', 'queued', 0.0, 0);
insert into steps (id, job_id, position, name, clip, start_s, end_s, kind, aspect, fit, state, percent, attempts)
values ('4f1d00da1fcee2a5e2635f9ff5c7da', 'aa0063d37e094adecab44e7e9ecbc0', 0, 'song-01-1x1.mp4', '1-2', 1.0, 2.0, 'cutdown', '1:1', 'crop', 'queued', 0.0, 0);
